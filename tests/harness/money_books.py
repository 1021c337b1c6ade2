"""Reads what the product says of money, after all checks of the books, for tests that compare it with a model."""

import asyncio
import time

import msgspec
from sqlalchemy import text

from billing.books import Check, Finding, check_all, check_frequently, record
from billing.lines import read_exposure
from billing.reaper import mismatches
from billing.seal import seal
from store.ids import AccountId, RequestId
from tests.builders.stripe import Payments

PATIENCE_S = 30


class Found(msgspec.Struct):
    """What the product says, by account."""

    credit: dict[AccountId, dict[str, int]]
    debt: dict[AccountId, int]
    owed: dict[AccountId, int]
    used: dict[AccountId, dict[str, int]]
    prices: dict[RequestId, int]


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
_PRICES = text("SELECT request_id, nano_per_mtok FROM usage_events")


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
        prices = {RequestId(row.request_id): row.nano_per_mtok for row in await tx.execute(_PRICES)}
    return Found(credit, debt, owed, used, prices)


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
