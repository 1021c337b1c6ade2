"""Reads usage events: one event, lists and sums. Only the group commit writes them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.values import UsageEvent
from store.ids import AccountId, RequestId

GroupBy = Literal["day", "model", "key", "account"]

_GROUPS: dict[GroupBy, str] = {
    "day": "to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "model": "model_id",
    "key": "key_id::text",
    "account": "account_id::text",
}


class UsageSum(msgspec.Struct, frozen=True):
    """The usage of one group over a half-open span of time."""

    group: str
    calls: int
    tokens: int
    charged: NanoUSD
    overdraft: NanoUSD
    provider_cost: NanoUSD


async def sum_usage(
    tx: AsyncConnection, since: datetime, until: datetime, group_by: GroupBy, account_id: AccountId | None = None
) -> list[UsageSum]:
    """Sum usage over ``[since, until)``, of one account or of all."""
    rows = await tx.execute(
        text(
            f"SELECT {_GROUPS[group_by]} AS name, count(*) AS calls, sum(tokens)::bigint AS tokens,"  # noqa: S608
            " sum(charged_nano)::bigint AS charged, sum(overdraft_nano)::bigint AS overdraft,"
            " sum(provider_cost_nano)::bigint AS provider_cost FROM usage_events"
            " WHERE occurred_at >= :since AND occurred_at < :until"
            " AND (CAST(:account AS uuid) IS NULL OR account_id = :account)"
            " GROUP BY 1 ORDER BY 1"
        ),
        {"since": since, "until": until, "account": account_id},
    )
    return [
        UsageSum(r.name, r.calls, r.tokens, NanoUSD(r.charged), NanoUSD(r.overdraft), NanoUSD(r.provider_cost))
        for r in rows
    ]


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
