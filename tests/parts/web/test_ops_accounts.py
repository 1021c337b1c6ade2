"""Operators look at an account, suspend it with a reason, give it credit, and find all of it in the audit."""

import re

import msgspec
import pytest

from router.changes.transaction import UnitOfWork
from router.identity.members import Role, add_member
from store.ids import AccountId, parse, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, form_of, words_of
from web.viewer import Staff, Viewer

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def umbrella(build: DatabaseBuilder) -> str:
    account = build.an_account(7_000_000_000, "Umbrella")
    build.a_key(account)
    return wire(AccountId, account)


@pytest.fixture(scope="module")
def used(build: DatabaseBuilder, umbrella: str) -> None:
    """Its key was used a moment ago."""
    account = parse(AccountId, umbrella)
    build.rows(
        "INSERT INTO key_uses (key_id, used_at, network, client)"
        " SELECT id, now(), '198.51.100.0/24', 'curl' FROM keys WHERE account_id = $1",
        account,
    )


async def test_an_account_is_suspended_with_a_reason_and_resumed(pages: Pages, umbrella: str) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now, zone="Asia/Kathmandu")))
    assert "Umbrella" in words_of(await ops.open("/ops/accounts"))
    page = await ops.open(f"/ops/accounts/{umbrella}")
    assert re.search(r"Credit, USD \d+\.\d\d", words_of(page))
    assert (await ops.open("/ops/accounts?find=Umbrella")).url.path == f"/ops/accounts/{umbrella}"
    form = await ops.open(f"/ops/accounts/{umbrella}/suspend")
    assert f"/admin/v1/accounts/{umbrella}/suspend" in form.text
    proposed = await ops.send(form, reason="They asked us to.")
    assert form_of(proposed).button == "Suspend Umbrella"
    assert "Status active suspended" in words_of(proposed)
    assert "Suspend Umbrella" in words_of(await ops.open(f"/ops/accounts/{umbrella}"))
    done = await ops.confirm(proposed)
    assert "It is done" in words_of(done)
    assert "account.suspend" in words_of(done)
    assert "They asked us to." in words_of(done)
    for path in (f"/ops/accounts/{umbrella}", "/ops/accounts", "/ops/audit"):
        page = await ops.open(path)
        assert "+0545</time>" in page.text, "times are in the reader's zone"
        assert "UTC</time>" not in page.text, path

    late = await ops.open(f"/ops/accounts/{umbrella}/resume")
    await ops.write(f"/ops/accounts/{umbrella}/resume", reason="They paid.")
    refused = await ops.send(late, status=409, reason="Mine, typed at length.")
    assert "Somebody else changed it" in words_of(refused)
    assert "Status suspended active" in words_of(refused)
    assert form_of(refused).fields["reason"] == "Mine, typed at length."


async def test_the_networks_of_a_key_are_read_and_set_with_a_reason(pages: Pages, umbrella: str, used: None) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    account = await ops.open(f"/ops/accounts/{umbrella}")
    assert "every one" in words_of(account)
    [one] = re.findall(r'href="(/ops/keys/key_\w+)"', account.text)
    page = words_of(await ops.open(one))
    assert "198.51.100.0/24, curl" in page
    assert "It may be used from every network." in page
    form = await ops.open(f"{one}/networks")
    wrong = await ops.send(form, status=400, networks="203.0.113.7/24", reason="Mine.")
    assert "aria-invalid" in wrong.text
    assert form_of(wrong).fields["networks"] == "203.0.113.7/24"
    shown = await ops.send(wrong, networks="203.0.113.0/24, 2001:db8::/48")
    assert "Networks none 203.0.113.0/24, 2001:db8::/48" in words_of(shown)
    assert "It was used last from 198.51.100.0/24, which is in none of these networks" in words_of(shown)
    assert form_of(shown).button.startswith("Set the networks of ")
    done = words_of(await ops.confirm(shown))
    assert "⚠ It was used last from 198.51.100.0/24" in done
    assert "203.0.113.0/24, 2001:db8::/48" in words_of(await ops.open(f"/ops/accounts/{umbrella}"))
    late = await ops.send(form, status=409, networks="")
    assert "Networks none 203.0.113.0/24, 2001:db8::/48" in words_of(late)
    assert "It may be used from every network." in words_of(await ops.confirm(await ops.send(late)))
    assert "State paused" in re.sub(r"\W+", " ", words_of(await ops.write(f"{one}/pause", reason="It leaked.")))
    audit = words_of(await ops.open(f"/ops/audit?subject={one.rpartition('/')[2]}"))
    assert "key.pause" in audit
    assert "It leaked." in audit
    assert "Mine." in audit
    reads = Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now), "fred"))
    await reads.open(one)
    await reads.open(f"{one}/networks", status=403)


async def test_credit_is_given_by_finance_and_shown_before(pages: Pages, umbrella: str) -> None:
    finance = Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now)))
    form = await finance.open(f"/ops/accounts/{umbrella}/grant")
    wrong = await finance.send(form, status=400, amount_usd="12 apples", source="an apology")
    assert form_of(wrong).fields["amount_usd"] == "12 apples"
    assert "aria-invalid" in wrong.text
    done = await finance.write(
        f"/ops/accounts/{umbrella}/grant", amount_usd="12.50", source="an apology", kind="goodwill"
    )
    assert "goodwill an apology 12.50" in words_of(done)
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    await ops.open(f"/ops/accounts/{umbrella}/grant", status=403)


@pytest.fixture(scope="module")
def two_of_finance(build: DatabaseBuilder) -> list[Viewer]:
    """Two who handle money, as the database knows them."""

    async def make(work: UnitOfWork) -> list[Viewer]:
        members = [
            await add_member(work, None, email, Role.FINANCE_ADMIN) for email in ("f1@ops.example", "f2@ops.example")
        ]
        one = an_operator(Role.FINANCE_ADMIN)
        return [msgspec.structs.replace(one, staff=Staff(member.id, Role.FINANCE_ADMIN)) for member in members]

    return build.as_owner(make)


async def test_credit_above_a_limit_waits_for_a_second_person_who_sees_what_the_first_saw(
    pages: Pages, umbrella: str, two_of_finance: list[Viewer]
) -> None:
    first, second = [
        Reader(pages.reader(msgspec.structs.replace(viewer, signed_in_at=pages.now), name))
        for viewer, name in zip(two_of_finance, ("ann", "bob"), strict=True)
    ]
    proposed = await first.send(
        await first.open(f"/ops/accounts/{umbrella}/grant"), amount_usd="20000.00", source="a large apology"
    )
    assert "a second one approves it" in words_of(proposed)
    waiting = await first.confirm(proposed)
    place = waiting.url.path
    assert place.startswith("/ops/proposals/")
    assert "a large apology" in words_of(waiting)
    assert "Second person" in words_of(await second.open("/ops"))
    await first.send(await first.open(f"{place}/approve"), status=403)
    assert (
        words_of(await second.open(place)).partition("What was sent")[2]
        == words_of(waiting).partition("What was sent")[2]
    )
    done = words_of(await second.write(f"{place}/approve", note="Seen."))
    assert "State · approved" in done
    assert "a large apology" in words_of(await first.open(f"/ops/accounts/{umbrella}"))


async def test_the_audit_has_before_and_after_of_each_change(pages: Pages, umbrella: str) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    await ops.write(f"/ops/accounts/{umbrella}/suspend", reason="Because.")
    found = words_of(await ops.open(f"/ops/audit?account={umbrella}"))
    assert "status: active suspended Because." in found
    assert "There is no account" in words_of(await ops.open("/ops/audit?account=nobody", status=404))
    await ops.write(f"/ops/accounts/{umbrella}/resume")


@pytest.fixture(scope="module")
def accounts_with_keys(build: DatabaseBuilder) -> tuple[str, str]:
    few, many = build.an_account(1_000, "One key"), build.an_account(1_000, "Twelve keys")
    for account, keys in ((few, 1), (many, 12)):
        for _ in range(keys):
            build.a_key(account)
    return wire(AccountId, few), wire(AccountId, many)


async def test_many_rows_cost_no_more_statements_than_one(pages: Pages, accounts_with_keys: tuple[str, str]) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    counts = []
    for account in accounts_with_keys:
        await ops.open(f"/ops/accounts/{account}")
        with pages.counted() as statements:
            await ops.open(f"/ops/accounts/{account}")
        # What a connection begins with is no statement of the page's.
        sent = [one for one in statements if "set_config" not in one]
        counts.append(len(sent))
    assert counts[0] == counts[1] <= 6
