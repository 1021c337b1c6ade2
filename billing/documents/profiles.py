"""Reads and writes who pays, who sells, and exchange rates.

A change is a new version; a payer's versions can be erased.
"""

from datetime import date, datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.parties import BillingProfile, Seller
from mail import Audience, outbox
from store.ids import AccountId

_PROFILE = text(
    "SELECT version, facts::text AS facts, created_at FROM billing_profiles WHERE account_id = :account"
    " ORDER BY version DESC LIMIT 1"
)
_ADD_PROFILE = text(
    "INSERT INTO billing_profiles (account_id, version, facts, created_by)"
    " VALUES (:account, :version, CAST(:facts AS jsonb), :by)"
)
_ERASE = text("DELETE FROM billing_profiles WHERE account_id = :account")
# Older versions than so many are dropped: what documents were issued to, they have themselves.
VERSIONS_MAX = 100
_DROP_OLD = text("DELETE FROM billing_profiles WHERE account_id = :account AND version <= :before")
_TODAY = text(
    "SELECT count(*) FROM billing_profiles WHERE account_id = :account AND created_at > now() - interval '1 day'"
)
# Editors of one account's profile take turns.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('gigarouter profile ' || :account, 0))")
_SELLERS = text(
    "SELECT DISTINCT ON (id) id, version, facts::text AS facts, created_at FROM sellers ORDER BY id, version DESC"
)
_ADD_SELLER = text(
    "INSERT INTO sellers (id, version, prefix, facts, created_by)"
    " VALUES (:id, :version, :prefix, CAST(:facts AS jsonb), :by)"
)
_RATE = text(
    "SELECT per_usd::text AS per_usd, on_day, source FROM exchange_rates"
    " WHERE currency = :currency AND on_day BETWEEN CAST(:on_day AS date) - 10 AND :on_day ORDER BY on_day DESC LIMIT 1"
)
_ADD_RATE = text(
    "INSERT INTO exchange_rates (currency, on_day, per_usd, source)"
    " VALUES (:currency, :on_day, CAST(CAST(:per_usd AS text) AS numeric), :source)"
)
_RATES = text(
    "SELECT currency, on_day, per_usd::text AS per_usd, source FROM exchange_rates"
    " ORDER BY on_day DESC, currency LIMIT 1000"
)


class StoredProfile(msgspec.Struct, frozen=True):
    """A version of an account's billing profile."""

    version: int
    profile: BillingProfile
    created_at: datetime


class StoredSeller(msgspec.Struct, frozen=True):
    """A version of a seller."""

    version: int
    seller: Seller
    created_at: datetime


class ExchangeRate(msgspec.Struct, frozen=True):
    """How much of a currency one US dollar was on a day, and by whom that was said."""

    currency: str
    on_day: date
    per_usd: str
    source: str

    def fraction(self) -> tuple[int, int]:
        """The rate as a fraction of integers."""
        whole, _, part = self.per_usd.partition(".")
        return int(whole + part), 10 ** len(part)


async def read_profile(tx: AsyncConnection, account_id: AccountId, *, locked: bool = False) -> StoredProfile | None:
    """The newest version of an account's profile; None where it has none, or was erased."""
    if locked:
        await tx.execute(_LOCK, {"account": account_id.hex})
    row = (await tx.execute(_PROFILE, {"account": account_id})).one_or_none()
    if row is None:
        return None
    return StoredProfile(row.version, msgspec.json.decode(row.facts, type=BillingProfile), row.created_at)


async def write_profile(tx: AsyncConnection, account_id: AccountId, profile: BillingProfile, by: str) -> StoredProfile:
    """Add a version of an account's profile; the same again adds none."""
    before = await read_profile(tx, account_id, locked=True)
    if before is not None and before.profile == profile:
        return before
    version = before.version + 1 if before else 1
    facts = {"account": account_id, "version": version, "facts": msgspec.json.encode(profile).decode(), "by": by}
    await tx.execute(_ADD_PROFILE, facts)
    await tx.execute(_DROP_OLD, {"account": account_id, "before": version - VERSIONS_MAX})
    written = await read_profile(tx, account_id)
    assert written is not None, "it was just written; this is a bug"
    return written


async def count_todays_versions(tx: AsyncConnection, account_id: AccountId) -> int:
    """How many versions of an account's profile are of the last 24 hours."""
    return int(await tx.scalar(_TODAY, {"account": account_id}) or 0)


async def erase_profile(tx: AsyncConnection, account_id: AccountId) -> int:
    """Delete every version of an account's profile; how many there were. Issued documents keep their own copies.

    The addresses that documents and news of its money were mailed to go, too.
    """
    await tx.execute(_LOCK, {"account": account_id.hex})
    await outbox.erase(tx, account_id, Audience.MONEY)
    return (await tx.execute(_ERASE, {"account": account_id})).rowcount


async def list_sellers(tx: AsyncConnection) -> list[StoredSeller]:
    """The newest version of each seller, by id."""
    rows = await tx.execute(_SELLERS)
    return [StoredSeller(row.version, msgspec.json.decode(row.facts, type=Seller), row.created_at) for row in rows]


async def find_only_seller(tx: AsyncConnection) -> str:
    """The id of the only seller that there is; empty where there is none, or more than one."""
    ids = [one.seller.id for one in await list_sellers(tx)]
    return ids[0] if len(ids) == 1 else ""


async def write_seller(tx: AsyncConnection, seller: Seller, by: str) -> StoredSeller:
    """Add a version of a seller. Raises ``IntegrityError`` for a prefix that is another's, or changed."""
    known = {one.seller.id: one.version for one in await list_sellers(tx)}
    version = known.get(seller.id, 0) + 1
    facts = {"id": seller.id, "version": version, "prefix": seller.prefix, "by": by}
    await tx.execute(_ADD_SELLER, {**facts, "facts": msgspec.json.encode(seller).decode()})
    return next(one for one in await list_sellers(tx) if one.seller.id == seller.id)


async def find_rate(tx: AsyncConnection, currency: str, on_day: date) -> ExchangeRate | None:
    """The newest rate of a currency on a day or at most ten days before it: there are none on holidays."""
    row = (await tx.execute(_RATE, {"currency": currency, "on_day": on_day})).one_or_none()
    return None if row is None else ExchangeRate(currency, row.on_day, row.per_usd, row.source)


async def add_rate(tx: AsyncConnection, rate: ExchangeRate) -> None:
    """Add a day's rate. Raises the database's ``IntegrityError`` for a day that has one."""
    await tx.execute(_ADD_RATE, msgspec.structs.asdict(rate))


async def list_rates(tx: AsyncConnection) -> list[ExchangeRate]:
    """The newest rates, a thousand at most."""
    return [ExchangeRate(*row) for row in await tx.execute(_RATES)]
