"""Lists which models accounts have voted for, beside what those accounts spend: what to add next."""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from store.ids import ModelId

SPENT_WITHIN = timedelta(days=30)
_LIST = text("""
    SELECT v.model_id, m.status, count(*) AS votes, max(v.created_at) AS newest_at,
        coalesce(sum(used.charged), 0)::bigint AS spent,
        coalesce(array_agg(v.note ORDER BY v.created_at DESC) FILTER (WHERE v.note <> ''), '{}') AS notes
    FROM model_votes v JOIN models m ON m.id = v.model_id
    LEFT JOIN LATERAL (
        SELECT sum(charged) AS charged FROM usage_by_day WHERE account_id = v.account_id AND at >= :since
    ) used ON true
    GROUP BY v.model_id, m.status ORDER BY v.model_id
""")
NOTES_MAX = 20


class ModelVotes(msgspec.Struct, frozen=True):
    """A model's votes. ``spent`` is what its voters were charged in 30 days; ``notes`` are the newest of theirs."""

    model_id: ModelId
    status: str
    votes: int
    newest_at: datetime
    spent: NanoUSD
    notes: tuple[str, ...]


async def list_votes(connection: AsyncConnection, now: datetime) -> list[ModelVotes]:
    """Every model that has a vote, by its id."""
    rows = await connection.execute(_LIST, {"since": now - SPENT_WITHIN})
    return [
        ModelVotes(
            model_id=ModelId(row.model_id),
            status=row.status,
            votes=row.votes,
            newest_at=row.newest_at,
            spent=NanoUSD(row.spent),
            notes=tuple(row.notes[:NOTES_MAX]),
        )
        for row in rows
    ]
