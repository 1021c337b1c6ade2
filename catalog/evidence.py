"""Keeps what customers know better of a model's license, until an operator has looked at it. It decides nothing."""

from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.tables import LicenseEvidenceRow
from store.ids import AccountId, EvidenceId, ModelId, new_id


class EvidenceState(StrEnum):
    """Whether an operator has looked at it, and what they made of it."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Evidence(msgspec.Struct, frozen=True):
    """What a customer sent: their words and a link. ``note`` is what the operator did with it."""

    id: EvidenceId
    model_id: ModelId
    account_id: AccountId
    body: str
    link: str
    sent_by: str
    sent_at: datetime
    state: EvidenceState
    note: str
    decided_by: str | None
    decided_at: datetime | None


async def send(
    db: AsyncConnection, model_id: ModelId, account_id: AccountId, *, body: str, link: str, sent_by: str, now: datetime
) -> EvidenceId:
    """Keep what an account sent."""
    evidence_id = EvidenceId(new_id())
    row = {"id": evidence_id, "model_id": model_id, "account_id": account_id, "sent_by": sent_by, "sent_at": now}
    await db.execute(insert(LicenseEvidenceRow).values(**row, body=body, link=link))
    return evidence_id


async def count_open(db: AsyncConnection, account_id: AccountId) -> int:
    """How much of an account waits for an operator."""
    row = LicenseEvidenceRow
    query = select(func.count()).where(row.account_id == account_id, row.state == EvidenceState.OPEN)
    return int(await db.scalar(query) or 0)


async def list_evidence(
    db: AsyncConnection,
    *,
    model_id: ModelId | None = None,
    state: EvidenceState | None = None,
    after: EvidenceId | None = None,
    limit: int | None = None,
) -> list[Evidence]:
    """What was sent, the oldest first; those that follow ``after``."""
    row = LicenseEvidenceRow
    query = select(row.__table__).order_by(row.id).limit(limit)
    if model_id is not None:
        query = query.where(row.model_id == model_id)
    if state is not None:
        query = query.where(row.state == state)
    if after is not None:
        query = query.where(row.id > after)
    return [_evidence(found) for found in (await db.execute(query)).mappings()]


async def find(db: AsyncConnection, evidence_id: EvidenceId, *, locked: bool = False) -> Evidence | None:
    """What was sent under this id, if anything."""
    query = select(LicenseEvidenceRow.__table__).where(LicenseEvidenceRow.id == evidence_id)
    found = (await db.execute(query.with_for_update() if locked else query)).mappings().one_or_none()
    return None if found is None else _evidence(found)


async def decide(
    db: AsyncConnection, evidence_id: EvidenceId, state: EvidenceState, *, note: str, decided_by: str, now: datetime
) -> None:
    """Close what is open; the trigger refuses a second time."""
    values = {"state": state, "note": note, "decided_by": decided_by, "decided_at": now}
    await db.execute(update(LicenseEvidenceRow).where(LicenseEvidenceRow.id == evidence_id).values(**values))


def _evidence(row: RowMapping) -> Evidence:
    return Evidence(**{**row, "state": EvidenceState(row["state"])})
