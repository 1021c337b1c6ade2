"""Operators look at an account, suspend it with a reason, give it credit, and find all of it in the audit."""

import re

import pytest

from router.identity.members import Role
from store.ids import AccountId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, form_of, words_of

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def umbrella(build: DatabaseBuilder) -> str:
    account = build.an_account(7_000_000_000, "Umbrella")
    build.a_key(account)
    return wire(AccountId, account)


async def test_an_account_is_suspended_with_a_reason_and_resumed(pages: Pages, umbrella: str) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
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

    late = await ops.open(f"/ops/accounts/{umbrella}/resume")
    await ops.write(f"/ops/accounts/{umbrella}/resume", reason="They paid.")
    refused = await ops.send(late, status=409, reason="Mine, typed at length.")
    assert "Somebody else changed it" in words_of(refused)
    assert "Status suspended active" in words_of(refused)
    assert form_of(refused).fields["reason"] == "Mine, typed at length."


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
        counts.append(len(statements))
    assert counts[0] == counts[1]
