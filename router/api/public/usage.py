"""Serves ``GET /v1/usage``: what the account behind a key has used and paid, by key, model, day or month."""

import asyncio
from typing import Annotated, Literal, TypeVar

from fastapi import Depends, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.rollups.read import sum_rolled
from billing.usage import UsageFilter, UsageSum
from router.api.fields import KeyRef, ModelRef
from router.api.operation import CSV, Operations, Who, check_request
from router.api.periods import Period
from router.api.public.postgres import read
from router.api.public.request import Private
from router.api.usage_report import (
    MEDIA,
    Commas,
    UsageOut,
    UsageRow,
    UsageSums,
    check_rows,
    csv_bytes,
    media_of,
    sums_of,
    totals_of,
)
from router.api.zones import ZonedSpanQuery
from router.context import RouterContext
from router.errors import Conflict, ModelNotFound, NotFound
from router.identity.key_views import key_names, list_keys
from router.identity.scopes import SPENDING
from router.request.body import printable_excerpt
from store.ids import AccountId, KeyId, ModelId, wire

T = TypeVar("T")

operations = Operations("usage", tag="Usage", who=Who.KEY)

ROWS_MAX = 20_000

CustomerGroupBy = Literal["key", "model", "lane", "hour", "day", "month"]


class CustomerUsageQuery(ZonedSpanQuery):
    """When, by what."""

    group_by: Annotated[tuple[CustomerGroupBy, ...], Commas] = Field(
        ("day",), description="key, model, lane, hour, day, month: one or several, with commas or repeated."
    )
    key: KeyRef | None = Field(None, description="That of this key of the account, by id or name.")
    model: ModelRef | None = Field(None, description="That of this model, by id or alias.")


@operations.get(
    "/v1/usage", verb="show", scope=SPENDING, name="retrieve_usage", summary="Usage", answer=UsageOut, media=MEDIA
)
async def retrieve_usage(
    request: Private, query: Annotated[CustomerUsageQuery, Query()], _: Annotated[None, Depends(check_request)]
) -> Response:
    """Calls, tokens and money of the whole account, by key, model, lane, hour, day or month; as JSON or CSV.

    The sums are the ledger's: what was charged, and what was served beyond the credit, to the nano-dollar.
    """
    span, group_by = query.span(request.exchange.now), tuple(dict.fromkeys(query.group_by))
    media = media_of(query.format, request.accept)
    model = None if query.model is None else _model_of(query.model, request.context)
    account_id = request.account_id

    async def ask(connection: AsyncConnection) -> tuple[list[UsageSum], dict[KeyId, str]]:
        key = None if query.key is None else (await own_key(connection, account_id, query.key),)
        which = UsageFilter(span.since, span.until, account_id=account_id, key_ids=key, model_ids=model)
        sums = await sum_rolled(connection, which, group_by, zone=query.timezone, limit=ROWS_MAX + 1)
        check_rows(sums, ROWS_MAX)
        return sums, await key_names(connection, {row.key_id for row in sums if row.key_id is not None})

    sums, names = await read(request.context, ask)
    answer = UsageOut(
        since=span.since,
        until=span.until,
        timezone=query.timezone.key,
        group_by=group_by,
        data=[],
        totals=UsageSums(**sums_of(totals_of(sums), UsageSums)),
    )
    body = await asyncio.to_thread(_csv if media == CSV else _json, answer, sums, names)
    return Response(body, media_type=media, headers={"cache-control": "no-store"})


async def own_key(connection: AsyncConnection, account_id: AccountId, name: str) -> KeyId:
    """A key of the account, by id or name. Raises ``NotFound``, also for another account's, and ``Conflict``."""
    own = await list_keys(connection, account_id)
    found = [key.id for key in own if name in (wire(KeyId, key.id), key.spec.name)]
    if not found:
        raise NotFound(f"This account has no key {printable_excerpt(name)}.", param="key")
    if len(found) > 1:
        raise Conflict(f"{len(found)} keys are called {printable_excerpt(name)}: name one by its id.", param="key")
    return found[0]


def _model_of(name: str, context: RouterContext) -> tuple[ModelId, ...]:
    model = context.catalog.get(name)
    if model is None:
        raise ModelNotFound(f"There is no model `{printable_excerpt(name)}`.", param="model")
    return (model.id,)


def _rows(sums: list[UsageSum], names: dict[KeyId, str]) -> list[UsageRow]:
    return [
        UsageRow(
            key=row.key_id,
            key_name=None if row.key_id is None else names.get(row.key_id),
            model=row.model_id,
            lane=row.lane,
            hour=row.hour,
            day=row.day,
            month=row.month,
            **sums_of(row, UsageSums),
        )
        for row in sums
    ]


def _json(answer: UsageOut, sums: list[UsageSum], names: dict[KeyId, str]) -> bytes:
    return answer.model_copy(update={"data": _rows(sums, names)}).model_dump_json().encode()


def _csv(answer: UsageOut, sums: list[UsageSum], names: dict[KeyId, str]) -> bytes:
    span = Period(answer.since, answer.until)
    return csv_bytes(span, answer.group_by, _rows(sums, names), UsageRow, UsageSums)
