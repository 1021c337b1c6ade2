"""Audits every change: who changed what, when, from what to what, in the transaction of the change and for good."""

from collections.abc import Sequence
from datetime import datetime
from typing import NewType

import msgspec
from sqlalchemy import insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.amounts import facts_in_usd
from router.tables import AuditRow, Json
from store.ids import AccountId, AuditId, new_id

# `cli:<user>`, a member's id on the wire, or `process:<kind>`.
Actor = NewType("Actor", str)


class Change(msgspec.Struct, frozen=True):
    """One change that a command made. ``before`` and ``after`` are JSON values without secrets.

    Where they are recorded and where they are read their amounts become decimal text: :func:`in_dollars`.
    """

    action: str
    subject: str
    account_id: AccountId | None = None
    before: Json | None = None
    after: Json | None = None
    reason: str = ""


def in_dollars(change: Change) -> Change:
    """The change with its amounts as the API writes money."""
    return msgspec.structs.replace(
        change, **{side: facts_in_usd(change.action, getattr(change, side)) for side in ("before", "after")}
    )


class AuditEntry(msgspec.Struct, frozen=True):
    """A change as the audit has it: with who made it and when."""

    id: AuditId
    at: datetime
    actor: Actor
    change: Change


async def record_changes(connection: AsyncConnection, actor: Actor, changes: Sequence[Change]) -> None:
    """Write one audit row per change."""
    rows = [
        {"id": new_id(), "actor": actor, **{name: getattr(c, name) for name in Change.__struct_fields__}}
        for c in map(in_dollars, changes)
    ]
    await connection.execute(insert(AuditRow), rows)


async def list_changes(
    connection: AsyncConnection,
    *,
    subject: str | None = None,
    account_id: AccountId | None = None,
    before: tuple[datetime, AuditId] | None = None,
    limit: int = 100,
) -> list[AuditEntry]:
    """List changes, the newest first; ``before`` is the last one of the page before."""
    query = select(AuditRow.__table__).order_by(AuditRow.at.desc(), AuditRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(tuple_(AuditRow.at, AuditRow.id) < before)
    if subject is not None:
        query = query.where(AuditRow.subject == subject)
    if account_id is not None:
        query = query.where(AuditRow.account_id == account_id)
    return [
        AuditEntry(
            id=AuditId(row.id),
            at=row.at,
            actor=Actor(row.actor),
            change=in_dollars(Change(row.action, row.subject, row.account_id, row.before, row.after, row.reason)),
        )
        for row in await connection.execute(query)
    ]
