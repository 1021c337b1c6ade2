"""Reads usage events: one event, lists and sums. Only the group commit writes them."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.values import UsageEvent
from store.ids import AccountId, KeyId, ModelId, ProviderId, RequestId

GroupBy = Literal["account", "key", "model", "day", "provider"]

# What usage is grouped by -> the field of a sum, and its SQL.
_GROUPS: dict[GroupBy, tuple[str, str]] = {
    "account": ("account_id", "account_id"),
    "key": ("key_id", "key_id"),
    "model": ("model_id", "model_id"),
    "day": ("day", "(occurred_at AT TIME ZONE 'UTC')::date"),
    "provider": ("provider_id", "provider_id"),
}


class UsageFilter(msgspec.Struct, frozen=True):
    """Whose usage, over ``[since, until)``; None: everyone's."""

    since: datetime
    until: datetime
    account_id: AccountId | None = None
    key_id: KeyId | None = None
    model_id: ModelId | None = None
    provider_id: ProviderId | None = None


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of one group, which is named by those of the first fields that it was grouped by."""

    account_id: AccountId | None = None
    key_id: KeyId | None = None
    model_id: ModelId | None = None
    day: date | None = None
    provider_id: ProviderId | None = None
    calls: int
    inputs: int
    tokens: int
    charged: NanoUSD
    overdraft: NanoUSD
    provider_cost: NanoUSD


async def sum_usage(
    tx: AsyncConnection, which: UsageFilter, group_by: Sequence[GroupBy], *, limit: int | None = None
) -> list[UsageSum]:
    """Sum usage by one or more of :data:`GroupBy`, in their order; days are UTC's. At most ``limit`` rows."""
    names = [_GROUPS[name][0] for name in group_by]
    groups = "".join(f"{expression} AS {field}, " for field, expression in (_GROUPS[name] for name in group_by))
    places = ", ".join(str(place) for place in range(1, len(names) + 1))
    rows = await tx.execute(
        text(
            f"SELECT {groups}count(*) AS calls, sum(inputs)::bigint AS inputs, sum(tokens)::bigint AS tokens,"  # noqa: S608
            " sum(charged_nano)::bigint AS charged, sum(overdraft_nano)::bigint AS overdraft,"
            " sum(provider_cost_nano)::bigint AS provider_cost FROM usage_events"
            " WHERE occurred_at >= :since AND occurred_at < :until"
            " AND (CAST(:account_id AS uuid) IS NULL OR account_id = :account_id)"
            " AND (CAST(:key_id AS uuid) IS NULL OR key_id = :key_id)"
            " AND (CAST(:model_id AS text) IS NULL OR model_id = :model_id)"
            " AND (CAST(:provider_id AS uuid) IS NULL OR provider_id = :provider_id)"
            f" GROUP BY {places} ORDER BY {places} LIMIT :limit"
        ),
        {**msgspec.structs.asdict(which), "limit": limit},
    )
    return [UsageSum(**row._mapping) for row in rows]


# By way of `ended_calls`, which has no partitions and knows the instant that usage is partitioned by.
_FIND = text(
    f"SELECT {', '.join(f'v.{name}' for name in UsageEvent.__struct_fields__)} FROM ended_calls e"  # noqa: S608
    " JOIN usage_events v ON v.request_id = e.request_id AND v.occurred_at = e.occurred_at"
    " WHERE e.request_id = :request"
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
