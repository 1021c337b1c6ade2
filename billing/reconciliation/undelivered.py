"""Records per day what providers may bill and no customer got, and how their counts of tokens differ from ours.

The log of routes has each attempt of each call, and is kept for weeks; what money rests on is kept here for good. An
attempt counts where the provider may have computed an answer: a hedge that lost, an answer that our checks rejected,
one that came too late or broken, a call whose client hung up. Attempts that were refused, or never reached the
provider, cost nothing. The cost is an upper bound: the call's tokens at the price of the endpoint.
"""

from datetime import UTC, date, datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.postgres import Database

# Days that are counted anew each time: a call's route may be written a little after its end.
DAYS_AGAIN = 3

# How an attempt's outcome is called by what it is (providers/outcomes.py); all others cost nothing.
CAUSES = {
    "BadAnswer": "rejected",
    "SpaceMismatch": "rejected",
    "TimedOut": "timed_out",
    "Broken": "broken",
    "canceled": "canceled",
}
_FORGET = text("DELETE FROM undelivered_attempts WHERE day >= :since AND day < :until")
_COUNT = text("""
    INSERT INTO undelivered_attempts (day, provider_id, model_id, cause, attempts, tokens, cost_nano)
    SELECT day, provider_id, model_id, cause, count(*), sum(tokens), sum(cost)
    FROM (
        SELECT (at AT TIME ZONE 'UTC')::date AS day, e.provider_id, e.model_id,
            CASE WHEN is_hedged AND outcome IN ('canceled', 'answered') THEN 'hedge'
                ELSE CAST(:causes AS jsonb) ->> outcome END AS cause,
            tokens, ceil(tokens * e.cost_nano_per_mtok / 1000000::numeric) AS cost
        FROM (
            SELECT CAST(r.route ->> 'at' AS timestamptz) AS at, CAST(a.attempt ->> 'endpoint' AS uuid) AS endpoint_id,
                a.attempt ->> 'outcome' AS outcome, a.place,
                coalesce(CAST(r.route ->> 'tokens' AS bigint), CAST(r.route #>> '{bound,tokens_max}' AS bigint), 0)
                    AS tokens,
                jsonb_path_exists(r.route -> 'attempts', '$[*] ? (@.why == "hedge")') AS is_hedged,
                CAST(u.endpoint_id AS uuid) AS answered_by
            FROM routes r
            CROSS JOIN LATERAL jsonb_array_elements(r.route -> 'attempts') WITH ORDINALITY AS a (attempt, place)
            LEFT JOIN usage_events u ON u.request_id = r.request_id AND u.occurred_at >= :begins
                AND u.occurred_at < :ends
            WHERE r.request_id >= first_id_at(:begins) AND r.request_id < first_id_at(:ends)
                AND (jsonb_array_length(r.route -> 'attempts') > 1
                    OR r.route #>> '{attempts,0,outcome}' <> 'answered')
        ) tried JOIN endpoints e ON e.id = tried.endpoint_id
        WHERE (outcome <> 'answered' AND (CAST(:causes AS jsonb) ? outcome))
            OR (outcome = 'answered' AND is_hedged AND endpoint_id IS DISTINCT FROM answered_by)
    ) lost GROUP BY 1, 2, 3, 4
    ON CONFLICT (day, provider_id, model_id, cause) DO UPDATE SET attempts = EXCLUDED.attempts,
        tokens = EXCLUDED.tokens, cost_nano = EXCLUDED.cost_nano
""")
_DRIFT = text("""
    INSERT INTO token_drift (day, provider_id, calls, tokens, provider_tokens)
    SELECT (occurred_at AT TIME ZONE 'UTC')::date, provider_id, count(*), sum(tokens), sum(provider_tokens)
    FROM usage_events WHERE occurred_at >= :begins AND occurred_at < :ends AND provider_tokens IS NOT NULL GROUP BY 1, 2
    ON CONFLICT (day, provider_id) DO UPDATE SET calls = EXCLUDED.calls, tokens = EXCLUDED.tokens,
        provider_tokens = EXCLUDED.provider_tokens
""")


_LAST_DAY = text("""
    SELECT DISTINCT ON (d.provider_id) p.name AS provider, d.tokens, d.provider_tokens
    FROM token_drift d JOIN providers p ON p.id = d.provider_id
    WHERE d.day < (now() AT TIME ZONE 'UTC')::date
        AND d.day >= (now() AT TIME ZONE 'UTC')::date - CAST(:days AS integer)
    ORDER BY d.provider_id, d.day DESC
""")


class Drift(msgspec.Struct, frozen=True):
    """How many tokens we billed of a provider's last whole day, and how many it told."""

    provider: str
    tokens: int
    provider_tokens: int

    @property
    def share(self) -> float:
        """By which share it told more."""
        return self.provider_tokens / self.tokens - 1 if self.tokens else 0.0


async def read_drift(tx: AsyncConnection) -> list[Drift]:
    """Of each provider that had calls lately, its last whole day."""
    rows = await tx.execute(_LAST_DAY, {"days": DAYS_AGAIN})
    return [Drift(row.provider, int(row.tokens), int(row.provider_tokens)) for row in rows]


async def count_days(tx: AsyncConnection, since: date, until: date) -> None:
    """Count the days from ``since`` up to ``until`` (UTC) anew."""
    begins, ends = (datetime.combine(day, datetime.min.time(), UTC) for day in (since, until))
    span = {"begins": begins, "ends": ends}
    await tx.execute(_FORGET, {"since": since, "until": until})
    await tx.execute(_COUNT, {**span, "causes": msgspec.json.encode(CAUSES).decode()})
    await tx.execute(_DRIFT, span)


async def count_last_days(db: Database) -> None:
    """Count the last days anew, each in a transaction of its own: a day may have millions of calls."""
    today = db.clock.now().date()
    for ago in range(DAYS_AGAIN, -1, -1):
        day = today - timedelta(days=ago)
        async with db.transaction() as tx:
            await count_days(tx, day, day + timedelta(days=1))
