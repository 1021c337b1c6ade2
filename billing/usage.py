"""Reads usage events: one event, lists and sums. Only the group commit writes them.

A sum has a condition for each field of its filter that is set, and for no other: ``column = $1 OR $1 IS NULL`` would
let Postgres plan for every value at once, which is a scan of all months instead of the account's index.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.values import UsageEvent
from store.ids import AccountId, KeyId, ModelId, ProviderId, RequestId

# The lane of a call, by its price: ``usage_events e`` with ``charged_prices``.
LANE = """coalesce((SELECT 'batch' FROM charged_prices p WHERE p.id = e.price_id
    AND e.nano_per_mtok = p.batch_nano_per_mtok AND p.batch_nano_per_mtok <> p.nano_per_mtok), 'interactive')"""
GroupBy = Literal["account", "key", "model", "hour", "day", "month", "lane", "provider"]

# What usage is grouped by -> the field of a sum, and its SQL.
_GROUPS: dict[GroupBy, tuple[str, str]] = {
    "account": ("account_id", "account_id"),
    "key": ("key_id", "key_id"),
    "model": ("model_id", "model_id"),
    "hour": ("hour", "date_trunc('hour', occurred_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"),
    "lane": ("lane", LANE),
    "day": ("day", "(occurred_at AT TIME ZONE 'UTC')::date"),
    "month": ("month", "to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM')"),
    "provider": ("provider_id", "provider_id"),
}
# What a sum has of its calls. Whatever was free was a test key's, or of a model at price zero.
_SUMS = (
    "count(*) AS calls, sum(inputs)::bigint AS inputs, sum(tokens)::bigint AS tokens,"
    " count(*) FILTER (WHERE cost_nano = 0) AS free_calls,"
    " coalesce(sum(tokens) FILTER (WHERE cost_nano = 0), 0)::bigint AS free_tokens,"
    " sum(charged_nano)::bigint AS charged, sum(overdraft_nano)::bigint AS overdraft,"
    " coalesce(sum(promotional_nano), 0)::bigint AS promotional, coalesce(sum(goodwill_nano), 0)::bigint AS goodwill,"
    " sum(provider_cost_nano)::bigint AS provider_cost"
)


class UsageFilter(msgspec.Struct, frozen=True):
    """Whose usage, over ``[since, until)``; None: everyone's. ``key_ids`` and ``model_ids``: any of these."""

    since: datetime
    until: datetime
    account_id: AccountId | None = None
    key_ids: tuple[KeyId, ...] | None = None
    model_ids: tuple[ModelId, ...] | None = None
    provider_id: ProviderId | None = None
    lane: Literal["interactive", "batch"] | None = None


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of one group, which is named by those of the first fields that it was grouped by.

    Of what was ``charged``, so much was paid from ``promotional`` and ``goodwill`` credit, which is no revenue.
    ``bucket`` numbers spans of equal width from ``since`` of the filter's epoch on (:func:`sum_buckets`).
    """

    account_id: AccountId | None = None
    key_id: KeyId | None = None
    model_id: ModelId | None = None
    lane: str | None = None
    hour: datetime | None = None
    day: date | None = None
    month: str | None = None
    provider_id: ProviderId | None = None
    bucket: int | None = None
    calls: int
    inputs: int
    tokens: int
    free_calls: int
    free_tokens: int
    charged: NanoUSD
    overdraft: NanoUSD
    promotional: NanoUSD
    goodwill: NanoUSD
    provider_cost: NanoUSD
    # How many calls took up to each bound of billing.rollups.columns; None where that was not wanted.
    latency: tuple[int, ...] | None = None

    @property
    def revenue(self) -> NanoUSD:
        """What was earned: all that calls cost, less what given credit paid for."""
        return NanoUSD(self.charged + self.overdraft - self.promotional - self.goodwill)


async def sum_usage(
    tx: AsyncConnection, which: UsageFilter, group_by: Sequence[GroupBy], *, limit: int | None = None
) -> list[UsageSum]:
    """Sum usage by some of :data:`GroupBy`, in their order; days and months are UTC's; at most ``limit`` rows."""
    return await _sum(tx, which, [_GROUPS[name] for name in group_by], limit)


async def sum_buckets(
    tx: AsyncConnection, which: UsageFilter, width_s: int, group_by: Sequence[GroupBy], *, limit: int
) -> list[UsageSum]:
    """Sum usage by buckets of ``width_s`` seconds, which a day has a whole number of, and by :data:`GroupBy`.

    ``bucket`` is the number of the bucket since 1970-01-01T00:00:00Z.
    """
    bucket = ("bucket", f"floor(extract(epoch FROM occurred_at) / {width_s:d})::bigint")
    return await _sum(tx, which, [bucket, *(_GROUPS[name] for name in group_by)], limit)


async def _sum(
    tx: AsyncConnection, which: UsageFilter, groups: Sequence[tuple[str, str]], limit: int | None
) -> list[UsageSum]:
    conditions = ["occurred_at >= :since", "occurred_at < :until"]
    if which.account_id is not None:
        conditions.append("account_id = :account_id")
    if which.key_ids is not None:
        conditions.append("key_id = ANY(:key_ids)")
    if which.model_ids is not None:
        conditions.append("model_id = ANY(:model_ids)")
    if which.provider_id is not None:
        conditions.append("provider_id = :provider_id")
    if which.lane is not None:
        conditions.append(f"{LANE} = :lane")
    columns = "".join(f"{expression} AS {field}, " for field, expression in groups)
    places = ", ".join(str(place) for place in range(1, len(groups) + 1))
    query = (
        f"SELECT {columns}{_SUMS} FROM usage_events e WHERE {' AND '.join(conditions)}"  # noqa: S608
        f" GROUP BY {places} ORDER BY {places} LIMIT :limit"
    )
    given = {name: value for name, value in msgspec.structs.asdict(which).items() if value is not None}
    arrays = {name: list(value) for name, value in given.items() if isinstance(value, tuple)}
    rows = await tx.execute(text(query), {**given, **arrays, "limit": limit})
    return [UsageSum(**row._mapping) for row in rows]


# One probe of each month's key: `ended_calls`, which knows the month, is gone once that is put away.
_FIND = text(
    f"SELECT {', '.join(UsageEvent.__struct_fields__)} FROM usage_events WHERE request_id = :request"  # noqa: S608
)


async def find_usage(tx: AsyncConnection, request_id: RequestId) -> UsageEvent | None:
    """The usage event of one call; None where nothing was charged, or not yet."""
    row = (await tx.execute(_FIND, {"request": request_id})).one_or_none()
    return None if row is None else UsageEvent(*row)


class ModelUse(msgspec.Struct, frozen=True):
    """How many accounts used a model over a span of time, how often, and what they were charged."""

    model_id: str
    accounts: int
    calls: int
    charged: NanoUSD


async def sum_use(tx: AsyncConnection, since: datetime, until: datetime, models: Sequence[str]) -> list[ModelUse]:
    """Sum the use of each of these models over ``[since, until)``; models without any are left out."""
    rows = await tx.execute(
        text(
            "SELECT model_id, count(DISTINCT account_id) AS accounts, count(*) AS calls,"
            " sum(charged_nano)::bigint AS charged FROM usage_events"
            " WHERE occurred_at >= :since AND occurred_at < :until AND model_id = ANY(:models)"
            " GROUP BY 1 ORDER BY 4 DESC, 1"
        ),
        {"since": since, "until": until, "models": list(models)},
    )
    return [ModelUse(r.model_id, r.accounts, r.calls, NanoUSD(r.charged)) for r in rows]
