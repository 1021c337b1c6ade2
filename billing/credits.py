"""Gives credit in grants: promotional, goodwill, purchased or lent, each with its source and maybe an expiry.

Promotional grants are spent first, then goodwill, then purchased ones, the credit line last; of one kind the soonest to
expire first. A grant to an account in debt pays that first. Taking credit back is :mod:`billing.take_back`.
"""

from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.debt import lock_credit, read_debt, read_usage_debt
from billing.ledger import Posting, post
from billing.money import NanoUSD
from billing.tables import GrantRow
from store.ids import AccountId, EntryId, GrantId, new_id


class GrantKind(StrEnum):
    """Where a grant comes from."""

    PROMOTIONAL = "promotional"
    GOODWILL = "goodwill"
    PURCHASED = "purchased"
    LINE = "line"


class Grant(msgspec.Struct, frozen=True):
    """An amount of credit and what is left of it."""

    id: GrantId
    account_id: AccountId
    kind: GrantKind
    amount: NanoUSD
    remaining: NanoUSD
    source_ref: str
    granted_at: datetime
    expires_at: datetime | None


CONTRA_OF = {
    GrantKind.PROMOTIONAL: LedgerKind.PROMOTIONAL_CONTRA,
    GrantKind.GOODWILL: LedgerKind.GOODWILL_EXPENSE,
    GrantKind.PURCHASED: LedgerKind.CLEARING,
    GrantKind.LINE: LedgerKind.CREDIT_LINES,
}
# They pay for usage alone. What they pay for is no revenue, also where it was served before they were given.
GIFTS = frozenset({GrantKind.PROMOTIONAL, GrantKind.GOODWILL})
_USE_GRANT = text("""
    WITH used AS (UPDATE grants SET remaining_nano = remaining_nano - :amount WHERE id = :grant RETURNING id)
    INSERT INTO grant_uses (entry_id, grant_id, amount_nano) SELECT :entry, id, :amount FROM used
""")


def debt_payment(account_id: AccountId, kind: GrantKind, paid: NanoUSD) -> list[Posting]:
    """The legs that pay debt, beside the leg of where the credit is from.

    The debt was booked as revenue when it was served; what a gift pays of it is none.
    """
    legs = [Posting(LedgerKind.CUSTOMER_OVERDRAFT, paid, account_id)]
    if kind in GIFTS:
        legs += [Posting(LedgerKind.REVENUE, NanoUSD(-paid)), Posting(CONTRA_OF[kind], paid)]
    return legs


async def use_grant(tx: AsyncConnection, grant_id: GrantId, entry_id: EntryId, amount: NanoUSD) -> None:
    """Take an amount of a grant for an entry. Raises the database's ``IntegrityError`` where less is left."""
    await tx.execute(_USE_GRANT, {"grant": grant_id, "entry": entry_id, "amount": amount})


async def grant(
    tx: AsyncConnection,
    account_id: AccountId,
    amount: NanoUSD,
    kind: GrantKind,
    *,
    source_ref: str,
    expires_at: datetime | None = None,
    note: str = "",
    paid_from: LedgerKind | None = None,
    granted_at: datetime | None = None,
) -> GrantId:
    """Give credit, of which the account's debt is paid first. ``paid_from``: where purchased credit's money is.

    ``granted_at``: when it was given, where that was earlier; its month is open, and the entry is booked into it.

    Of a debt that is no usage given credit pays nothing, and is there to be used.

    The same ``source_ref`` twice is the database's ``IntegrityError``: one fact, one grant. Redis learns of it by
    the resync, or at once by :func:`billing.projection.Projection.refresh`.
    """
    if amount <= 0:
        raise ValueError("a grant is a positive amount; to take credit back, book a correction")
    grant_id = GrantId(new_id())
    await lock_credit(tx, account_id)
    payable = await (read_usage_debt if kind in GIFTS else read_debt)(tx, account_id)
    paid = NanoUSD(min(amount, payable))
    legs = [
        Posting(LedgerKind.CUSTOMER_CREDIT, NanoUSD(amount - paid), account_id),
        Posting(paid_from or CONTRA_OF[kind], NanoUSD(-amount)),
        *debt_payment(account_id, kind, paid),
    ]
    period = None if granted_at is None else granted_at.astimezone(UTC).date().replace(day=1)
    entry_id = await post(tx, "grant", f"grant:{source_ref}", legs, account_id=account_id, note=note, period=period)
    await tx.execute(
        insert(GrantRow).values(
            **({} if granted_at is None else {"granted_at": granted_at}),
            id=grant_id,
            account_id=account_id,
            kind=kind,
            amount_nano=amount,
            remaining_nano=amount,
            source_ref=source_ref,
            expires_at=expires_at,
        )
    )
    if paid:
        await use_grant(tx, grant_id, entry_id, paid)
    await tx.execute(text("SELECT pg_notify('gigarouter_changed', :payload)"), {"payload": f"credit:{account_id.hex}"})
    return grant_id


async def list_grants(tx: AsyncConnection, account_id: AccountId) -> list[Grant]:
    """An account's grants, oldest first."""
    rows = await tx.execute(select(GrantRow).where(GrantRow.account_id == account_id).order_by(GrantRow.granted_at))
    return [
        Grant(
            GrantId(r.id),
            AccountId(r.account_id),
            GrantKind(r.kind),
            NanoUSD(r.amount_nano),
            NanoUSD(r.remaining_nano),
            r.source_ref,
            r.granted_at,
            r.expires_at,
        )
        for r in rows
    ]


async def due_grants(tx: AsyncConnection, now: datetime) -> list[Grant]:
    """The grants whose time is over and that still have something left."""
    accounts = select(GrantRow.account_id).where(GrantRow.expires_at <= now, GrantRow.remaining_nano > 0).distinct()
    due: list[Grant] = []
    for account_id in (await tx.execute(accounts)).scalars().all():
        grants = await list_grants(tx, AccountId(account_id))
        due += [g for g in grants if g.remaining > 0 and g.expires_at is not None and g.expires_at <= now]
    return due
