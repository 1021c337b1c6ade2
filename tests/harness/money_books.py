"""Reads what the product says of money, after all checks of the books, for tests that compare it with a model."""

import asyncio
import time
from datetime import date

import msgspec
from sqlalchemy import text

from billing.books import Check, Finding, check_all, check_frequently, record
from billing.documents.document import exact_line
from billing.documents.usage_lines import measure_lines
from billing.lines import read_exposure
from billing.reaper import mismatches
from billing.seal import seal
from router.explain.receipts import find_call
from store.ids import AccountId, RequestId
from tests.builders.stripe import Payments

PATIENCE_S = 30


class Found(msgspec.Struct):
    """What the product says, by account."""

    credit: dict[AccountId, dict[str, int]]
    debt: dict[AccountId, int]
    owed: dict[AccountId, int]
    used: dict[AccountId, dict[str, int]]
    calls: dict[RequestId, tuple[int, int]]


_CREDIT = text("""
    SELECT account_id, kind, sum(remaining_nano)::bigint AS nano FROM grants WHERE remaining_nano > 0 GROUP BY 1, 2
""")
_DEBT = text("""
    SELECT account_id, -posted_nano AS nano FROM ledger_accounts WHERE kind = 'customer_overdraft' AND posted_nano < 0
""")
_USED = text("""
    SELECT e.account_id, to_char(e.period, 'YYYY-MM') AS month, sum(u.cost_nano)::bigint AS nano
    FROM usage_events u JOIN entries e ON e.id = u.entry_id GROUP BY 1, 2 HAVING sum(u.cost_nano) > 0
""")
_CALLS = text("SELECT request_id, nano_per_mtok, cost_nano FROM usage_events")


async def read_money(p: Payments) -> Found:
    """What there is, once everything has settled and the frequent checks are green."""
    await catch_up(p)
    assert [one for one in await check_frequently(p.db) if one.wrong] == []
    async with p.db.transaction(snapshot=True) as tx:
        credit: dict[AccountId, dict[str, int]] = {}
        for row in await tx.execute(_CREDIT):
            credit.setdefault(AccountId(row.account_id), {})[row.kind] = row.nano
        used: dict[AccountId, dict[str, int]] = {}
        for row in await tx.execute(_USED):
            used.setdefault(AccountId(row.account_id), {})[row.month] = row.nano
        debt = {AccountId(row.account_id): int(row.nano) for row in await tx.execute(_DEBT)}
        lent = [AccountId(one) for one in (await tx.execute(text("SELECT account_id FROM credit_lines"))).scalars()]
        owed = {account: int((await read_exposure(tx, account)).owed) for account in lent}
        calls = {RequestId(row.request_id): (row.nano_per_mtok, row.cost_nano) for row in await tx.execute(_CALLS)}
    return Found(credit, debt, owed, used, calls)


async def read_agreed(p: Payments, request_id: RequestId) -> tuple[int | None, int | None] | None:
    """What a call's explanation names as what made its price: a percentage and a list price, of a contract's."""
    found = await find_call(p.db, request_id)
    assert found is not None
    agreement = found.agreement
    return None if agreement is None else (agreement.percent_off, agreement.list_nano_per_mtok)


async def read_lines(p: Payments, account: AccountId, month: date) -> set[tuple[int, int, int, int]]:
    """The lines of usage that a month's invoice has: price, calls, tokens, and the amount, which adds up."""
    async with p.db.transaction(snapshot=True) as tx:
        lines = await measure_lines(tx, account, month)
    for line in lines:
        assert exact_line(line.usage) == line.amount_nano * 1_000_000
    return {(one.usage.nano_per_mtok, one.usage.calls, one.usage.tokens, one.amount_nano) for one in lines}


async def catch_up(p: Payments) -> None:
    """What jobs do again and again: act on what is due, and set accounts in Redis anew that fell behind."""
    until = time.monotonic() + PATIENCE_S
    await p.act()
    while await mismatches(p.db, p.billing.projection) and time.monotonic() < until:
        await asyncio.sleep(0.05)
        await p.act()
    await p.billing.settle()


async def check_books(p: Payments) -> None:
    """Seal, and make every check; what jobs alone can check counts as right."""
    await seal(p.db)
    found = [*await check_frequently(p.db), *await check_all(p.db)]
    assert [one for one in found if one.wrong] == []
    found += [Finding(check, 0) for check in Check if check not in {one.check for one in found}]
    async with p.db.transaction() as tx:
        await record(tx, found)


async def assert_all_right(p: Payments) -> None:
    """The books, Redis, and Stripe."""
    await catch_up(p)
    await p.assert_right()
    await check_books(p)
