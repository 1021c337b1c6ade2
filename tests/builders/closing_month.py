"""Builds a month that is over: an account with all kinds of credit, its calls, and books that were checked."""

from datetime import UTC, datetime, timedelta

import asyncpg

from billing import books
from billing.credits import GrantKind
from billing.lines import set_line
from billing.money import NanoUSD
from billing.seal import seal
from billing.values import Hold
from store.ids import AccountId
from tests.builders.billing import Billing, an_account
from tests.builders.database import add_credit
from tests.builders.values import a_payer

LONGEST_S = 80.0
THIS_MONTH = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
IN_MONTH = THIS_MONTH - timedelta(days=3)
MONTH = IN_MONTH.date().replace(day=1)


async def month_of_calls(b: Billing, url: str) -> AccountId:
    """An account with all kinds of credit, whose calls of last month were charged, and books that were checked."""
    owner = await asyncpg.connect(url)
    await owner.execute("SELECT make_usage_months($1, 1)", MONTH)
    await owner.close()
    account = await an_account(b.db, 300)
    async with b.db.transaction() as tx:
        await add_credit(tx, account, 50, GrantKind.PROMOTIONAL)
        await set_line(tx, account, NanoUSD(10_000), datetime.now(UTC))
    await b.projection.refresh(account)
    for cost in (100, 400):
        await charge(b, account, cost)
    await check_books(b)
    return account


async def charge(b: Billing, account: AccountId, cost: int, at: datetime = IN_MONTH) -> None:
    hold = await b.admit(a_payer(account), cost)
    assert isinstance(hold, Hold), hold
    await b.charge(hold, cost, at=at)


async def check_books(b: Billing) -> None:
    await seal(b.db)
    await b.settle()
    differing, _ = await books.check_redis(b.db, b.projection, set())
    found = [*await books.check_frequently(b.db), *await books.check_all(b.db), *differing]
    # Checks of Stripe and of documents are run by jobs, which this has none of.
    found += [books.Finding(check, 0) for check in books.Check if check not in {one.check for one in found}]
    async with b.db.transaction() as tx:
        await books.record(tx, found)
