"""Reads what a page says of an account beside its usage: its credit, and its calls that were not answered.

These are counted by an index of the log of calls alone, of the days that it keeps, and up to a bound.
"""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from router.explain.calls import id_at
from store.ids import AccountId, KeyId

COUNTED_MAX = 10_000
_READ = text("""
    SELECT (
        SELECT posted_nano FROM ledger_accounts WHERE account_id = :account AND kind = 'customer_credit'
    ) AS credit, count(*) FILTER (WHERE outcome = 'refused') AS refused,
        count(*) FILTER (WHERE outcome = 'failed') AS failed
    FROM (
        SELECT w.outcome FROM unnest(ARRAY['refused', 'failed']) AS w (outcome) CROSS JOIN LATERAL (
            SELECT FROM routes r WHERE r.account_id = :account AND r.outcome = w.outcome AND r.outcome <> 'answered'
                AND r.request_id >= :since AND r.request_id < :until
                AND (CAST(:key AS uuid) IS NULL OR r.key_id = :key)
                AND (CAST(:model AS text) IS NULL OR r.model_id = :model) LIMIT :most
        ) found
    ) counted
""")


class Standing(msgspec.Struct, frozen=True):
    """An account's credit, and how many of its calls were refused and failed."""

    credit: NanoUSD
    refused: int
    failed: int


async def read_standing(
    tx: AsyncConnection,
    account_id: AccountId,
    since: datetime,
    until: datetime,
    *,
    key_id: KeyId | None = None,
    model_id: str | None = None,
) -> Standing:
    """Read the credit, and count refused and failed calls of ``[since, until)``, each up to :data:`COUNTED_MAX`.

    ``key_id`` and ``model_id``: those of this key and of this model alone.
    """
    values = {"account": account_id, "since": id_at(since), "until": id_at(until), "most": COUNTED_MAX}
    row = (await tx.execute(_READ, {**values, "key": key_id, "model": model_id})).one()
    return Standing(NanoUSD(row.credit or 0), row.refused, row.failed)
