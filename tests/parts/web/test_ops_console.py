"""The console's overview, prices with effective time, and why a call goes where it does."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from catalog.votes import vote
from router.identity.members import Role
from store.ids import AccountId, ModelId, RequestId, new_id, wire
from tests.builders.calls import CHARGE
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, form_of, words_of

pytestmark = pytest.mark.anyio

MODEL = "tests/priced"


@pytest.fixture(scope="module")
def model(build: DatabaseBuilder) -> str:
    known = build.a_model(MODEL)
    build.an_endpoint(known, "http://127.0.0.1:1", name="near", cost_nano_per_mtok=500_000)
    build.an_endpoint(known, "http://127.0.0.1:2", name="far", cost_nano_per_mtok=900_000)
    return MODEL


@pytest.fixture(scope="module")
def made(build: DatabaseBuilder, model: str, account: AccountId) -> str:
    """A call of yesterday, of which the charge alone is known."""
    at = datetime.now(UTC) - timedelta(days=1)
    request = RequestId(new_id(at))
    build.rows(CHARGE, request, at, account, build.a_key_and_its_id(account)[1], model, 7)
    return wire(RequestId, request)


async def test_the_overview_says_what_needs_a_person(pages: Pages, model: str) -> None:
    del model
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    await ops.open("/ops")
    with pages.counted() as statements:
        seen = words_of(await ops.open("/ops"))
    assert "License codefuse-ai/F2LLM-v2-4B" in seen
    assert "sources disagree" in seen
    sent = [statement for statement in statements if "set_config" not in statement]
    assert len(sent) <= 6


async def test_votes_stand_beside_what_the_voters_spend(pages: Pages, account: AccountId) -> None:
    async with pages.context.writes.db.transaction() as connection:
        await vote(connection, ModelId("codefuse-ai/F2LLM-v2-4B"), account, "for <b>search</b>")
    seen = await Reader(pages.reader(an_operator(now=pages.now))).open("/ops/votes")
    assert "codefuse-ai/F2LLM-v2-4B ◌ coming soon 1 0.00" in words_of(seen)
    assert "for &lt;b&gt;search" in seen.text


async def test_a_price_is_set_for_later_and_shown_before(pages: Pages, model: str) -> None:
    finance = Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now)))
    form = await finance.open(f"/ops/prices/new?model={model}")
    assert form_of(form).fields["model"] == model
    refused = await finance.send(form, status=400, usd_per_mtok="cheap", note="A sentence of mine.")
    assert form_of(refused).fields["note"] == "A sentence of mine."
    proposed = await finance.send(form, usd_per_mtok="0.0125", effective_at="2099-01-31T00:00:00Z")
    assert "Price, USD per 1M tokens none 0.0125" in words_of(proposed)
    assert form_of(proposed).button == f"Set the price of {model}"
    listed = words_of(await finance.confirm(proposed))
    assert "It is done" in listed
    listed = words_of(await finance.open(f"/ops/prices?model={model}"))
    assert "0.0125 as the price 2099-01-31 00:00 UTC to come" in listed
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    await ops.open("/ops/prices/new", status=403)


async def test_a_route_is_explained_as_a_question(pages: Pages, model: str, account: AccountId) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    shown = await ops.open(f"/ops/route?model={model}&account={wire(AccountId, account)}&tokens=1000&exclude=near")
    seen = words_of(shown)
    assert "Chosen near" in seen
    assert "near ✓ chosen" in seen
    assert "Without near" in seen
    assert "admin/v1/routes:explain" in shown.text
    wrong = await ops.open("/ops/route?call=req_nothing", status=404)
    assert "aria-invalid" in wrong.text
    unknown = await ops.open("/ops/route?call=req_00000000000000000000000000000000", status=404)
    assert "There is no record of this request" in words_of(unknown)
    await ops.open(f"/ops/route?model={model}&tokens=many", status=400)


async def test_two_routes_stand_side_by_side_and_what_one_lacks_is_said_beside_the_other(
    pages: Pages, model: str, account: AccountId, made: str
) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    asked = f"a={model}&a_account={wire(AccountId, account)}&b={model}&b_exclude=near"
    with pages.counted() as statements:
        page = await ops.open(f"/ops/route?{asked}")
    assert len([one for one in statements if "set_config" not in one]) <= 6
    seen = words_of(page)
    assert f"Model {model} {model} = same" in seen
    assert f"Account {wire(AccountId, account)} nobody's ≠ differs" in seen
    assert re.search(r"near \(ep_\w+\) turn 1, chosen; live; costs us 0.0005 USD per 1M tokens; .* ◐ in A alone", seen)
    assert re.search(r"far \(ep_\w+\) turn 2; .* turn 1, chosen; .* ≠ differs", seen)
    gone = f"req_{'0' * 32}"
    beside = await ops.open(f"/ops/route?a={made}&b={gone}")
    seen = words_of(beside)
    assert "Its explanation is not kept any more: only its charge is known." in seen
    assert f"{gone} is not here. There is no record of this request" in seen
    assert f"Model {model} ◐ in A alone" in seen
    again = await ops.open(f"/ops/route?call={made}")
    [href] = re.findall(r'href="(/ops/route\?a=[^"]*)"', again.text)
    now = words_of(await ops.open(unescape(href)))
    assert f"Model {model} {model} = same" in now
    assert "Status 200 not made ≠ differs" in now
    old = await ops.open(f"/ops/route?call={made}&beside={made}")
    assert "≠" not in words_of(old).partition("Two others")[0]
    nothing = await ops.open(f"/ops/route?a={gone}&b=none/none", status=404)
    assert words_of(nothing).count("is not here.") == 2
    await ops.open(f"/ops/route?a={model}&a_tokens=many&b={made}")
