"""Gives and expires credit, in grants: promotional, goodwill or purchased, each with its source and maybe an expiry.

Promotional grants are spent first, then goodwill, then purchased ones, and of one kind the soonest to expire first.
"""

from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.ledger import Posting, post
from billing.money import NanoUSD
from billing.tables import GrantRow, LedgerAccountRow
from store.ids import AccountId, GrantId, new_id


class GrantKind(StrEnum):
    """Where a grant comes from."""

    PROMOTIONAL = "promotional"
    GOODWILL = "goodwill"
    PURCHASED = "purchased"


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


_CONTRA_OF = {
    GrantKind.PROMOTIONAL: LedgerKind.PROMOTIONAL_CONTRA,
    GrantKind.GOODWILL: LedgerKind.GOODWILL_EXPENSE,
    GrantKind.PURCHASED: LedgerKind.CLEARING,
}
_EXPIRES_INTO = {
    GrantKind.PROMOTIONAL: LedgerKind.PROMOTIONAL_CONTRA,
    GrantKind.GOODWILL: LedgerKind.GOODWILL_EXPENSE,
    GrantKind.PURCHASED: LedgerKind.BREAKAGE,
}


async def grant(
    tx: AsyncConnection,
    account_id: AccountId,
    amount: NanoUSD,
    kind: GrantKind,
    *,
    source_ref: str,
    expires_at: datetime | None = None,
    note: str = "",
) -> GrantId:
    """Give credit. The same ``source_ref`` twice is the database's ``IntegrityError``: one fact, one grant.

    Redis learns of it by the resync, or at once by :func:`billing.projection.Projection.refresh`.
    """
    if amount <= 0:
        raise ValueError("a grant is a positive amount; to take credit back, book a correction")
    grant_id = GrantId(new_id())
    await post(
        tx,
        "grant",
        f"grant:{source_ref}",
        [
            Posting(LedgerKind.CUSTOMER_CREDIT, amount, account_id),
            Posting(_CONTRA_OF[kind], NanoUSD(-amount)),
        ],
        account_id=account_id,
        note=note,
    )
    await tx.execute(
        insert(GrantRow).values(
            id=grant_id,
            account_id=account_id,
            kind=kind,
            amount_nano=amount,
            remaining_nano=amount,
            source_ref=source_ref,
            expires_at=expires_at,
        )
    )
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


async def expire(tx: AsyncConnection, due: Grant) -> tuple[NanoUSD, int | None]:
    """Book away the rest of a due grant; returns how much that was, and the account's version of it.

    The caller holds that amount first, as a call would: credit that calls in flight hold cannot be taken from them.
    """
    await tx.execute(
        select(LedgerAccountRow.id)
        .where(LedgerAccountRow.account_id == due.account_id, LedgerAccountRow.kind == LedgerKind.CUSTOMER_CREDIT)
        .with_for_update(key_share=True)
    )
    remaining = (
        await tx.execute(select(GrantRow.remaining_nano).where(GrantRow.id == due.id).with_for_update())
    ).scalar_one()
    if remaining == 0:
        return NanoUSD(0), None
    await tx.execute(update(GrantRow).where(GrantRow.id == due.id).values(remaining_nano=0))
    await post(
        tx,
        "expiry",
        f"expiry:{due.id}",
        [
            Posting(LedgerKind.CUSTOMER_CREDIT, NanoUSD(-remaining), due.account_id),
            Posting(_EXPIRES_INTO[due.kind], NanoUSD(remaining)),
        ],
        account_id=due.account_id,
    )
    credit = (LedgerAccountRow.account_id == due.account_id) & (LedgerAccountRow.kind == LedgerKind.CUSTOMER_CREDIT)
    return NanoUSD(remaining), (await tx.execute(select(LedgerAccountRow.version).where(credit))).scalar_one()
