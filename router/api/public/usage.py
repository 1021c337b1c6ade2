"""Serves ``GET /v1/usage``: what the account behind a key has used and paid, by key, model, day or month."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal, TypeVar

from fastapi import Depends, Query, Response
from pydantic import Field
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.usage import UsageFilter, UsageSum, sum_usage
from router.api.fields import KeyRef, ModelRef
from router.api.operation import CSV, Operations, Who, check_request
from router.api.periods import Period, SpanQuery
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
from router.context import RouterContext
from router.errors import Conflict, InvalidRequest, ModelNotFound, NotFound, StoreUnavailable
from router.identity.key_commands import key_names, list_keys
from router.request.body import printable_excerpt
from store.ids import AccountId, KeyId, ModelId, wire
from store.postgres import STORE_FAULTS

T = TypeVar("T")

operations = Operations("usage", tag="Usage", who=Who.KEY)

ROWS_MAX = 20_000
# A customer may ask as often as they like, so one question costs Postgres no more than this.
STATEMENT_S_MAX = 10
_CANCELED = "57014"

CustomerGroupBy = Literal["key", "model", "day", "month"]


class CustomerUsageQuery(SpanQuery):
    """When, by what."""

    group_by: Annotated[tuple[CustomerGroupBy, ...], Commas] = Field(
        ("day",), description="key, model, day, month: one or several, with commas or repeated."
    )
    key: KeyRef | None = Field(None, description="That of this key of the account, by id or name.")
    model: ModelRef | None = Field(None, description="That of this model, by id or alias.")


@operations.get("/v1/usage", verb="show", name="retrieve_usage", summary="Usage", answer=UsageOut, media=MEDIA)
async def retrieve_usage(
    request: Private, query: Annotated[CustomerUsageQuery, Query()], _: Annotated[None, Depends(check_request)]
) -> Response:
    """Calls, tokens and money of the whole account, by key, model, day or month (UTC); as JSON or CSV.

    The sums are the ledger's: what was charged, and what was served beyond the credit, to the nano-dollar.
    """
    span, group_by = query.span(request.exchange.now), tuple(dict.fromkeys(query.group_by))
    media = media_of(query.format, request.accept)
    model = None if query.model is None else _model_of(query.model, request.context)
    account_id = request.key.account_id

    async def ask(connection: AsyncConnection) -> tuple[list[UsageSum], dict[KeyId, str]]:
        key = None if query.key is None else (await own_key(connection, account_id, query.key),)
        which = UsageFilter(span.since, span.until, account_id=account_id, key_ids=key, model_ids=model)
        sums = await sum_usage(connection, which, group_by, limit=ROWS_MAX + 1)
        check_rows(sums, ROWS_MAX)
        return sums, await key_names(connection, {row.key_id for row in sums if row.key_id is not None})

    sums, names = await read(request.context, ask)
    body = await asyncio.to_thread(_csv if media == CSV else _json, span, group_by, sums, names)
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


async def read(context: RouterContext, ask: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """What Postgres answers, within a bounded time. Raises ``InvalidRequest`` beyond it, ``StoreUnavailable``."""
    try:
        async with context.usage_reads, context.db.transaction() as connection:
            await connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_S_MAX}s'"))
            return await ask(connection)
    except STORE_FAULTS as fault:
        if isinstance(fault, DBAPIError) and getattr(fault.orig, "sqlstate", None) == _CANCELED:
            raise InvalidRequest(
                "These are more calls than can be summed at once. Ask for a shorter time.", param="from"
            ) from fault
        raise StoreUnavailable(
            "Usage cannot be read right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
        ) from fault


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
            day=row.day,
            month=row.month,
            **sums_of(row, UsageSums),
        )
        for row in sums
    ]


def _json(span: Period, group_by: tuple[str, ...], sums: list[UsageSum], names: dict[KeyId, str]) -> bytes:
    totals = UsageSums(**sums_of(totals_of(sums), UsageSums))
    rows = _rows(sums, names)
    answer = UsageOut(since=span.since, until=span.until, group_by=group_by, data=rows, totals=totals)
    return answer.model_dump_json().encode()


def _csv(span: Period, group_by: tuple[str, ...], sums: list[UsageSum], names: dict[KeyId, str]) -> bytes:
    return csv_bytes(span, group_by, _rows(sums, names), UsageRow, UsageSums)
