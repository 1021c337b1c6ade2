"""Sums statistics by day and by the spans that pages show; forgets what is old. ``jobs`` does it every minute.

Each sum is made anew of what it sums, so that doing it again, or half of it, harms nothing. Days are UTC's; a span of
seven or thirty days is today and the days before it.
"""

from datetime import datetime, timedelta

from sqlalchemy import text

from store.postgres import Database

# Spans of five minutes are there for a week and today, days for thirteen months.
SPANS_KEPT = timedelta(days=8)
DAYS_KEPT = timedelta(days=400)

_ONE_AT_A_TIME = text("SELECT pg_try_advisory_xact_lock(hashtext('gigarouter statistics'))")
_SUMS = "sum(answered), sum(ours), sum(providers), sum(customers)"
_COLUMNS = "answered, ours, providers, customers"
_KEPT = "answered = EXCLUDED.answered, ours = EXCLUDED.ours, providers = EXCLUDED.providers,"
_ENDPOINT_DAYS = text(f"""
    INSERT INTO endpoint_days (endpoint_id, day, size, {_COLUMNS}, latency)
    SELECT endpoint_id, (at AT TIME ZONE 'UTC')::date, size, {_SUMS}, sum_counts(latency)
    FROM endpoint_statistics WHERE at >= :since GROUP BY 1, 2, 3
    ON CONFLICT (endpoint_id, day, size)
        DO UPDATE SET {_KEPT} customers = EXCLUDED.customers, latency = EXCLUDED.latency
""")  # noqa: S608 - constants
_MODEL_DAYS = text(f"""
    INSERT INTO model_days (model_id, day, {_COLUMNS})
    SELECT model_id, (at AT TIME ZONE 'UTC')::date, {_SUMS} FROM model_statistics WHERE at >= :since GROUP BY 1, 2
    ON CONFLICT (model_id, day) DO UPDATE SET {_KEPT} customers = EXCLUDED.customers
""")  # noqa: S608 - constants
_FIGURES = text(f"""
    INSERT INTO endpoint_figures (endpoint_id, span, size, {_COLUMNS}, latency)
    SELECT endpoint_id, '24h', size, {_SUMS}, sum_counts(latency) FROM endpoint_statistics WHERE at >= :day_ago
    GROUP BY 1, 3
    UNION ALL
    SELECT endpoint_id, span, size, {_SUMS}, sum_counts(latency)
    FROM (VALUES ('7d', CAST(:week AS date)), ('30d', CAST(:month AS date))) AS spans (span, since)
    JOIN endpoint_days ON day >= since GROUP BY 1, 2, 3
""")  # noqa: S608 - constants
_SUMMED = text("""
    INSERT INTO statistics_state AS s (name, at) VALUES ('summed', :now)
    ON CONFLICT (name) DO UPDATE SET at = greatest(s.at, EXCLUDED.at)
""")
_FORGET = (
    text("DELETE FROM endpoint_statistics WHERE at < :spans"),
    text("DELETE FROM model_statistics WHERE at < :spans"),
    text("DELETE FROM endpoint_days WHERE day < CAST(:days AS date)"),
    text("DELETE FROM model_days WHERE day < CAST(:days AS date)"),
)


async def sum_statistics(db: Database, now: datetime) -> bool:
    """Sum the days since yesterday, and the figures of all endpoints; False where another process does it now."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    async with db.transaction() as tx:
        if not await tx.scalar(_ONE_AT_A_TIME):
            return False
        for statement in (_ENDPOINT_DAYS, _MODEL_DAYS):
            await tx.execute(statement, {"since": today - timedelta(days=1)})
        await tx.execute(text("DELETE FROM endpoint_figures"))
        days = {"week": (today - timedelta(days=6)).date(), "month": (today - timedelta(days=29)).date()}
        await tx.execute(_FIGURES, days | {"day_ago": now - timedelta(days=1)})
        await tx.execute(_SUMMED, {"now": now})
    return True


async def forget_statistics(db: Database, now: datetime) -> None:
    """Delete what is older than it is kept."""
    bounds = {"spans": now - SPANS_KEPT, "days": (now - DAYS_KEPT).date()}
    async with db.transaction() as tx:
        for statement in _FORGET:
            await tx.execute(statement, {name: bounds[name] for name in statement.compile().params})
