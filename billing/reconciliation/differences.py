"""Keeps the queue of differences between the ledger and what others say.

A difference is one row, by its object and kind, however often a comparison finds it. Two things close it: a comparison
that looked at the object again and found none, or a person who names the entry or the reason that explains it. What was
resolved and is found again with the same amount stays resolved; with another amount it is open again.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.reconciliation.values import Found, Kind
from store.ids import DifferenceId, EntryId, new_id

_PUT = text("""
    INSERT INTO differences AS d (id, scope, kind, object, amount_nano, message)
    VALUES (:id, :scope, :kind, :object, :amount, :message)
    ON CONFLICT (object, kind) DO UPDATE SET amount_nano = EXCLUDED.amount_nano, message = EXCLUDED.message,
        seen_at = now(), gone_at = NULL,
        found_at = CASE WHEN d.gone_at IS NOT NULL OR (d.resolved_at IS NOT NULL
            AND d.amount_nano <> EXCLUDED.amount_nano) THEN now() ELSE d.found_at END,
        resolved_at = CASE WHEN d.amount_nano = EXCLUDED.amount_nano THEN d.resolved_at END,
        resolved_by = CASE WHEN d.amount_nano = EXCLUDED.amount_nano THEN d.resolved_by END,
        reason = CASE WHEN d.amount_nano = EXCLUDED.amount_nano THEN d.reason ELSE '' END,
        entry_id = CASE WHEN d.amount_nano = EXCLUDED.amount_nano THEN d.entry_id END
""")
_GONE = text("""
    UPDATE differences SET gone_at = now() WHERE scope = :scope AND gone_at IS NULL
        AND NOT ((object, kind) IN (SELECT * FROM unnest(CAST(:objects AS text[]), CAST(:kinds AS text[]))))
        AND (CAST(:examined AS text[]) IS NULL OR object = ANY(CAST(:examined AS text[])))
""")
_COLUMNS = (
    "id, scope, kind, object, amount_nano AS amount, message, found_at, seen_at, gone_at, owner, note, resolved_at,"
    " resolved_by, reason, entry_id"
)
_LIST = text(f"""
    SELECT {_COLUMNS} FROM differences WHERE (NOT :is_open OR (gone_at IS NULL AND resolved_at IS NULL))
        AND (CAST(:scope AS text) IS NULL OR scope = :scope) AND (CAST(:owner AS text) IS NULL OR owner = :owner)
        AND (CAST(:after AS uuid) IS NULL OR id > CAST(:after AS uuid)) ORDER BY id LIMIT :most
""")  # noqa: S608 - constants
_FIND = text(f"SELECT {_COLUMNS} FROM differences WHERE id = :id")  # noqa: S608 - constants
_LOCK = text(f"SELECT {_COLUMNS} FROM differences WHERE id = :id FOR UPDATE")  # noqa: S608 - constants
_ASSIGN = text("UPDATE differences SET owner = :owner, note = :note WHERE id = :id")
_RESOLVE = text("""
    UPDATE differences SET resolved_at = now(), resolved_by = :actor, reason = :reason,
        entry_id = CAST(:entry AS uuid) WHERE id = :id
""")
_RESOLVE_SCOPE = text("""
    UPDATE differences SET resolved_at = now(), resolved_by = :actor, reason = :reason, entry_id = CAST(:entry AS uuid)
    WHERE scope = :scope AND gone_at IS NULL AND resolved_at IS NULL
""")
_OPEN_OBJECTS = text("SELECT object FROM differences WHERE scope = :scope AND gone_at IS NULL ORDER BY object")
_COUNT_OPEN = text("""
    SELECT count(*) FROM differences WHERE gone_at IS NULL AND resolved_at IS NULL
        AND (CAST(:scope AS text) IS NULL OR scope = :scope)
""")


class DifferenceState(StrEnum):
    """Open, or how it was closed."""

    OPEN = "open"
    RESOLVED = "resolved"
    GONE = "gone"


class Difference(msgspec.Struct, frozen=True):
    """A difference in the queue. ``scope`` is the comparison that looks at it: stripe, or one invoice."""

    id: DifferenceId
    scope: str
    kind: Kind
    object: str
    amount: NanoUSD
    message: str
    found_at: datetime
    seen_at: datetime
    gone_at: datetime | None
    owner: str
    note: str
    resolved_at: datetime | None
    resolved_by: str | None
    reason: str
    entry_id: EntryId | None

    @property
    def state(self) -> DifferenceState:
        """A resolution counts before evidence that came later."""
        if self.resolved_at is not None:
            return DifferenceState.RESOLVED
        return DifferenceState.OPEN if self.gone_at is None else DifferenceState.GONE


async def record_found(
    tx: AsyncConnection, scope: str, found: Sequence[Found], examined: Collection[str] | None = None
) -> None:
    """Keep what a whole comparison found. Of what it examined, None being all of ``scope``, everything else is gone."""
    for one in sorted(found, key=lambda difference: (difference.object, difference.kind)):
        facts = {"kind": one.kind.value, "object": one.object, "amount": one.amount, "message": one.message}
        await tx.execute(_PUT, {"id": new_id(), "scope": scope, **facts})
    keys = {"objects": [one.object for one in found], "kinds": [one.kind.value for one in found]}
    known = None if examined is None else sorted(examined)
    await tx.execute(_GONE, {"scope": scope, "examined": known, **keys})


async def open_objects(tx: AsyncConnection, scope: str) -> list[str]:
    """The objects of a scope that differed when they were last looked at, also those that were resolved."""
    return list((await tx.execute(_OPEN_OBJECTS, {"scope": scope})).scalars())


async def count_open(tx: AsyncConnection, scope: str | None = None) -> int:
    """How many differences nobody has resolved yet, of one scope or of all."""
    return int(await tx.scalar(_COUNT_OPEN, {"scope": scope}) or 0)


async def list_differences(
    tx: AsyncConnection,
    *,
    is_open: bool,
    scope: str | None = None,
    owner: str | None = None,
    after: DifferenceId | None = None,
    most: int = 100,
) -> list[Difference]:
    """List the queue, the oldest first; only what is open, or all of it."""
    facts = {"is_open": is_open, "scope": scope, "owner": owner, "after": after, "most": most}
    return [_difference(row._mapping) for row in await tx.execute(_LIST, facts)]


async def find_difference(
    tx: AsyncConnection, difference_id: DifferenceId, *, locked: bool = False
) -> Difference | None:
    """One of the queue."""
    row = (await tx.execute(_LOCK if locked else _FIND, {"id": difference_id})).first()
    return None if row is None else _difference(row._mapping)


async def assign(tx: AsyncConnection, difference_id: DifferenceId, owner: str, note: str) -> None:
    """Say who looks after it, and what they found so far."""
    await tx.execute(_ASSIGN, {"id": difference_id, "owner": owner, "note": note})


async def resolve(
    tx: AsyncConnection, difference_id: DifferenceId, actor: str, reason: str, entry_id: EntryId | None
) -> None:
    """Close it by the entry or the reason that explains it. The database refuses one that has neither."""
    await tx.execute(_RESOLVE, {"id": difference_id, "actor": actor, "reason": reason, "entry": entry_id})


async def resolve_scope(tx: AsyncConnection, scope: str, actor: str, reason: str, entry_id: EntryId | None) -> None:
    """Close all open ones of a scope by one entry or reason."""
    await tx.execute(_RESOLVE_SCOPE, {"scope": scope, "actor": actor, "reason": reason, "entry": entry_id})


def _difference(row: object) -> Difference:
    return msgspec.convert(dict(row), Difference)  # type: ignore[call-overload]
