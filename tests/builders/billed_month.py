"""Builds what a month's documents are made of: an account with calls in the last month, a billing profile, a seller."""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import insert, text

from billing.credits import GrantKind
from billing.documents.parties import BillingProfile, Seller
from billing.documents.profiles import ExchangeRate, add_rate, list_sellers, write_profile, write_seller
from billing.tables import PriceRow
from billing.values import Hold
from store.ids import AccountId
from store.postgres import Database
from tests.builders.billing import MODEL, PRICE, Billing
from tests.builders.database import add_account, add_credit, insert_model
from tests.builders.documents import a_buyer, a_seller
from tests.builders.values import a_payer

BY = "cli:test"


def last_month() -> date:
    """The first day of the month before this one."""
    return (datetime.now(UTC).date().replace(day=1) - timedelta(days=1)).replace(day=1)


async def make_month(db: Database) -> None:
    """The tables of last month, which was over before the database was made; and the price of its calls."""
    owner = Database(db.url, as_owner=True)
    async with owner.transaction() as tx:
        await tx.execute(text("SELECT make_usage_months(:month, 1)"), {"month": last_month()})
        await insert_model(tx, MODEL)
        price = {"id": PRICE.id, "model_id": MODEL, "nano_per_mtok": PRICE.nano_per_mtok}
        await tx.execute(insert(PriceRow).values(effective_at=PRICE.effective_at, note="", **price))
    await owner.close()


async def add_seller(db: Database, seller: Seller | None = None) -> Seller:
    """A seller, and the rate of its currency at the end of last month."""
    seller = seller or a_seller()
    async with db.transaction() as tx:
        await write_seller(tx, seller, BY)
        if len(await list_sellers(tx)) == 1:
            day = datetime.now(UTC).date().replace(day=1) - timedelta(days=1)
            await add_rate(tx, ExchangeRate("EUR", day, "0.91", "ECB"))
    return seller


async def an_account_with_a_month(
    b: Billing,
    calls: list[int],
    *,
    buyer: BillingProfile | None = None,
    purchased: int = 0,
    promotional: int = 0,
    line: int = 0,
    has_profile: bool = True,
) -> AccountId:
    """Calls of so many nano-dollars each, in the middle of last month, paid from this credit."""
    async with b.db.transaction() as tx:
        account = await add_account(tx, 0, "Billed")
        for amount, kind in (
            (promotional, GrantKind.PROMOTIONAL),
            (purchased, GrantKind.PURCHASED),
            (line, GrantKind.LINE),
        ):
            if amount:
                await add_credit(tx, account, amount, kind)
        if has_profile:
            await write_profile(tx, account, buyer or a_buyer(), BY)
    at = datetime.combine(last_month() + timedelta(days=14), datetime.min.time(), UTC)
    for number, cost in enumerate(calls):
        hold = await b.admit(a_payer(account), cost)
        assert isinstance(hold, Hold), hold
        await b.charge(hold, cost, at=at + timedelta(seconds=number))
    await b.settle()
    return account
