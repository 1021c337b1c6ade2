"""Mails accounts that spend when less than a fifth of the credit that came last is left, once for each credit.

An account whose credit is bought by itself is not mailed, nor is one that made no call this month. What is lent counts
for nothing here: it is not the account's own.
"""

from datetime import datetime

from sqlalchemy import text

from billing.money import NanoUSD, to_usd
from mail import enqueue
from mail.kinds import BalanceLow
from mail.outbox import known
from store.ids import AccountId
from store.postgres import Database

# Left of so many parts is one.
LOW_PART = 5
_LOW = text("""
    WITH newest AS (
        SELECT DISTINCT ON (account_id) account_id, id, amount_nano FROM grants
        WHERE kind <> 'line' AND amount_nano > 0 ORDER BY account_id, granted_at DESC, id DESC
    ), credit AS (
        SELECT account_id, sum(remaining_nano)::bigint AS left_nano FROM grants
        WHERE kind <> 'line' AND remaining_nano > 0 GROUP BY account_id
    )
    SELECT n.account_id, n.id, n.amount_nano, coalesce(c.left_nano, 0) AS left_nano
    FROM newest n JOIN accounts a ON a.id = n.account_id AND a.status = 'active'
    LEFT JOIN credit c ON c.account_id = n.account_id
    WHERE coalesce(c.left_nano, 0) * :parts < n.amount_nano
        AND EXISTS (
            SELECT FROM key_spend s WHERE s.account_id = n.account_id AND s.period = :month AND s.spent_nano > 0
        ) AND NOT EXISTS (
            SELECT FROM recharge_rules r WHERE r.account_id = n.account_id AND r.is_on AND NOT EXISTS (
                SELECT FROM recharge_rules l WHERE l.account_id = r.account_id AND l.version > r.version)
        )
    ORDER BY n.account_id
""")


async def notify_low(db: Database, now: datetime) -> int:
    """Have everybody mailed whose credit is low; how many mails were new."""
    async with db.transaction() as tx:
        rows = (await tx.execute(_LOW, {"parts": LOW_PART, "month": f"{now:%Y-%m}"})).all()
        before = await known(tx, [_dedupe(row.id) for row in rows])
    count = 0
    for row in rows:
        if _dedupe(row.id) in before:
            continue
        last = to_usd(NanoUSD(row.amount_nano))
        mail = BalanceLow(left_usd=to_usd(NanoUSD(row.left_nano)), last_usd=last)
        async with db.transaction() as tx:
            count += await enqueue(tx, mail, AccountId(row.account_id), dedupe=_dedupe(row.id))
    return count


def _dedupe(grant_id: object) -> str:
    return f"balance-low:{grant_id}"
