"""Lists what changed about models for readers: launches, prices, retirements, facts, licenses; the newest first.

It is read from the records that each change leaves anyway (moves, prices, claims and resolutions, the audit), in one
statement. Who did it and why is not in it, nor is the name of a license: a change alone would hide a conflict.
"""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from store.ids import ModelId

MANY = 100


class ChangeKind(StrEnum):
    """What a change is about."""

    ADDED = "added"
    STATUS = "status"
    PRICE = "price"
    FACTS = "facts"
    LICENSE = "license"


class ModelChange(msgspec.Struct, frozen=True):
    """One change. ``id`` names it for good; ``at`` is in the future for a price that waits for its day."""

    at: datetime
    id: str
    model_id: ModelId
    kind: ChangeKind
    sentence: str


_CHANGES: Final = text("""
SELECT at, id, model_id, kind, detail FROM (
    SELECT created_at AS at, 'added_' || id AS id, id AS model_id, 'added' AS kind, '{}'::jsonb AS detail FROM models
    UNION ALL
    SELECT occurred_at, 'mevent_' || replace(id::text, '-', ''), model_id, 'status',
        jsonb_build_object('from', from_status, 'to', to_status)
    FROM model_events
    UNION ALL
    SELECT effective_at, 'price_' || replace(id::text, '-', ''), model_id, 'price',
        jsonb_build_object('nano', nano_per_mtok, 'batch', batch_nano_per_mtok,
            'before', lag(nano_per_mtok) OVER versions, 'batch_before', lag(batch_nano_per_mtok) OVER versions)
    FROM prices WINDOW versions AS (PARTITION BY model_id ORDER BY effective_at)
    UNION ALL
    SELECT at, 'audit_' || replace(id::text, '-', ''), subject, 'facts',
        jsonb_build_object('facts', (SELECT jsonb_agg(name ORDER BY name) FROM jsonb_object_keys(after) AS name))
    FROM audit WHERE action IN ('model.edit', 'model.import') AND after IS NOT NULL AND after <> '{}'
    UNION ALL
    SELECT recorded_at, 'claim_' || replace(id::text, '-', ''), model_id, 'license',
        jsonb_build_object('source', source)
    FROM license_claims
    UNION ALL
    SELECT decided_at, 'resolution_' || replace(id::text, '-', ''), model_id, 'license', '{}'::jsonb
    FROM license_resolutions
) AS changes
WHERE (CAST(:model_id AS text) IS NULL OR model_id = :model_id)
    AND (CAST(:models AS text[]) IS NULL OR model_id = ANY(CAST(:models AS text[])))
    AND (CAST(:kinds AS text[]) IS NULL OR kind = ANY(CAST(:kinds AS text[])))
    AND (CAST(:at AS timestamptz) IS NULL OR (at, id) < (:at, :id))
ORDER BY at DESC, id DESC LIMIT :limit
""")


async def list_model_changes(
    connection: AsyncConnection,
    *,
    model_id: ModelId | None = None,
    models: Collection[ModelId] | None = None,
    kinds: frozenset[ChangeKind] = frozenset(),
    after: tuple[datetime, str] | None = None,
    limit: int = MANY,
) -> list[ModelChange]:
    """What changed, of one model, of some (``models``) or of all; what follows ``after``, the last one before."""
    at, last = after if after is not None else (None, None)
    some = None if models is None else sorted(models)
    which = {"model_id": model_id, "models": some, "kinds": sorted(kinds) or None}
    values = {**which, "at": at, "id": last, "limit": limit}
    return [
        ModelChange(row.at, row.id, ModelId(row.model_id), ChangeKind(row.kind), _sentence(row.kind, row.detail))
        for row in await connection.execute(_CHANGES, values)
    ]


_STATUS: Final = {
    "live": "It went live.",
    "deprecated": "It is deprecated: it is served on, and customers are asked to leave it.",
    "retired": "It is retired: it is served no longer.",
    "coming_soon": "It is announced again.",
}


def _sentence(kind: str, detail: dict[str, Any]) -> str:
    match kind:
        case "status":
            return _STATUS[detail["to"]]
        case "price":
            return _price(detail)
        case "facts":
            return f"Changed: {', '.join(name.replace('_', ' ') for name in detail['facts'])}."
        case "license" if "source" in detail:
            return f"What {detail['source']} says of its license was recorded."
        case "license":
            return "Which license holds was resolved with evidence."
        case _:
            return "It was added to the catalogue."


def _price(detail: dict[str, Any]) -> str:
    price = f"${to_usd(detail['nano'])} per 1M tokens"
    if detail["before"] is not None:
        price = f"{price}, before ${to_usd(detail['before'])}"
    if detail["batch"] is None and detail["batch_before"] is None:
        return f"{price}."
    batch = "no other price" if detail["batch"] is None else f"${to_usd(detail['batch'])}"
    return f"{price}; batch {batch}."
