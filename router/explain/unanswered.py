"""Counts an account's calls that were not answered, of the days that the log of calls keeps, by an index alone."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.explain.calls import id_at
from store.ids import AccountId

COUNTED_MAX = 10_000
_COUNT = text("""
    SELECT count(*) FROM (
        SELECT FROM unnest(ARRAY['refused', 'failed']) AS w (outcome) CROSS JOIN LATERAL (
            SELECT FROM routes r WHERE r.account_id = :account AND r.outcome = w.outcome AND r.outcome <> 'answered'
                AND r.request_id >= :since AND r.request_id < :until LIMIT :most
        ) found LIMIT :most
    ) counted
""")


async def count_unanswered(tx: AsyncConnection, account_id: AccountId, since: datetime, until: datetime) -> int:
    """Count refused and failed calls of ``[since, until)``, up to :data:`COUNTED_MAX`."""
    values = {"account": account_id, "since": id_at(since), "until": id_at(until), "most": COUNTED_MAX}
    return int(await tx.scalar(_COUNT, values) or 0)
