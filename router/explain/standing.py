"""Reads what a page says of an account beside its usage: its credit, and its calls that were not answered.

These are counted by an index of the log of calls alone, of the days that it keeps, and up to a bound.
"""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from router.explain.calls import id_at
from store.ids import AccountId

COUNTED_MAX = 10_000
_READ = text("""
    SELECT (
        SELECT posted_nano FROM ledger_accounts WHERE account_id = :account AND kind = 'customer_credit'
    ) AS credit, count(*) AS unanswered FROM (
        SELECT FROM unnest(ARRAY['refused', 'failed']) AS w (outcome) CROSS JOIN LATERAL (
            SELECT FROM routes r WHERE r.account_id = :account AND r.outcome = w.outcome AND r.outcome <> 'answered'
                AND r.request_id >= :since AND r.request_id < :until LIMIT :most
        ) found LIMIT :most
    ) counted
""")


class Standing(msgspec.Struct, frozen=True):
    """An account's credit, what is held in it, and how many of its calls were refused or failed."""

    credit: NanoUSD
    unanswered: int


async def read_standing(tx: AsyncConnection, account_id: AccountId, since: datetime, until: datetime) -> Standing:
    """Read the credit, and count refused and failed calls of ``[since, until)`` up to :data:`COUNTED_MAX`."""
    values = {"account": account_id, "since": id_at(since), "until": id_at(until), "most": COUNTED_MAX}
    row = (await tx.execute(_READ, values)).one()
    return Standing(NanoUSD(row.credit or 0), row.unanswered)
