"""A conflict of licenses is settled with evidence, and what follows from it changes everywhere at once."""

import pytest

from router.identity.members import Role
from store.ids import AccountId
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, form_of, words_of

pytestmark = pytest.mark.anyio

MODEL = "codefuse-ai/F2LLM-v2-4B"
DESK = f"/ops/licenses/{MODEL}"
SEEN_AT = "https://example.com/letter"


@pytest.fixture(scope="module")
def commercial_key(build: DatabaseBuilder, account: AccountId) -> str:
    return build.a_key(account)


async def test_a_conflict_is_resolved_with_evidence(pages: Pages, commercial_key: str) -> None:
    del commercial_key
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    assert MODEL in words_of(await ops.open("/ops/licenses"))
    desk = words_of(await ops.open(DESK))
    assert "Sources disagree." in desk
    assert "Were it Apache-2.0" in desk
    assert "Were it CC-BY-NC-ND-4.0" in desk
    assert "Keys that could call it from then on: 1; that no longer could: 0." in desk

    form = await ops.open(f"{DESK}/resolve?license=Apache-2.0")
    assert form_of(form).fields["license"] == "Apache-2.0"
    proposed = await ops.send(form, reason="The maker says so in writing.", evidence=SEEN_AT)
    assert form_of(proposed).button == f"Rule on the license of {MODEL}"
    assert "License that holds none Apache-2.0" in words_of(proposed)
    assert "Sources disagree." in words_of(await ops.open(DESK))
    ruled = words_of(await ops.confirm(proposed))
    assert "It is done" in ruled
    await pages.context.reads.catch_up()
    desk = words_of(await ops.open(DESK))
    assert "Sources disagree." not in desk
    assert "What holds now: Apache-2.0" in desk
    assert "in force Apache-2.0 : The maker says so in writing." in desk
    assert MODEL not in words_of(await ops.open("/ops/licenses"))


async def test_a_waiver_is_signed_by_finance_and_ended(pages: Pages) -> None:
    finance = Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now)))
    signed = words_of(
        await finance.write(f"{DESK}/waive", term="charging", signer="licensor", signed_by="Codefuse", evidence=SEEN_AT)
    )
    assert "charging , signed by Codefuse" in signed
    link = (await finance.open(DESK)).text.partition('href="/ops/waivers/')[2].partition('"')[0]
    ended = words_of(await finance.write(f"/ops/waivers/{link}"))
    assert "revoked charging" in ended


async def test_a_license_that_is_none_is_refused_where_it_was_typed(pages: Pages) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    refused = await ops.send(
        await ops.open(f"{DESK}/resolve"), status=400, license="My own", reason="Because.", evidence=SEEN_AT
    )
    assert form_of(refused).fields["license"] == "My own"
    assert form_of(refused).fields["reason"] == "Because."
    await ops.open("/ops/licenses/nobody/nothing", status=404)
