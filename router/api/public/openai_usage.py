"""Serves OpenAI's ``/v1/organization/usage/embeddings`` and ``/v1/organization/costs`` for the account behind a key.

Buckets begin at whole minutes, hours or days of UTC; the first and the last are cut at ``start_time`` and ``end_time``,
so that the buckets of all pages sum to what ``GET /v1/usage`` says of the same span. An account is one project, and
users are not recorded. A bucket without calls has no results, as OpenAI's has none.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from fastapi import Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.rollups.read import sum_rolled_buckets
from billing.usage import GroupBy, UsageFilter, UsageSum
from router.api.forms import Answer, closed, opened
from router.api.operation import Operations, Who, check_request
from router.api.public.postgres import read
from router.api.public.request import Private, PrivateRequest
from router.api.usage_report import Commas
from router.errors import InvalidRequest
from router.identity.scopes import SPENDING
from store.ids import AccountId, KeyId, ModelId, parse, wire

operations = Operations("usage", tag="Usage", who=Who.KEY)

WIDTHS = {"1m": 60, "1h": 3_600, "1d": 86_400}
# OpenAI's: how many buckets a page has by default, and at most.
BUCKETS = {"1m": (60, 1_440), "1h": (24, 168), "1d": (7, 31)}
COST_BUCKETS = (7, 180)
ROWS_MAX = 20_000
# The end of 9999: a time in milliseconds is beyond it.
SECONDS_MAX = 253_402_300_799

_encode = msgspec.json.Encoder(decimal_format="number").encode
_Exact = PlainSerializer(lambda value: value, return_type=float)

_PAGE = Field(None, description="The next_page of the page before.")
_START = Field(ge=0, le=SECONDS_MAX, description="Unix seconds (UTC), inclusive.")
_END = Field(None, ge=0, le=SECONDS_MAX, description="Unix seconds, exclusive; by default now.")
_KEYS = Field((), description="Ids of keys: only what they used.")
_PROJECTS = Field((), description="Ids of accounts, as an account is one project: of others there is nothing.")


class UsageQuery(BaseModel):
    """OpenAI's parameters of usage."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    start_time: int = _START
    end_time: int | None = _END
    bucket_width: Literal["1m", "1h", "1d"] = Field("1d", description="The width of a bucket.")
    project_ids: Annotated[tuple[str, ...], Commas] = _PROJECTS
    api_key_ids: Annotated[tuple[str, ...], Commas] = _KEYS
    models: Annotated[tuple[str, ...], Commas] = Field((), description="Models: only their use.")
    group_by: Annotated[tuple[Literal["project_id", "user_id", "api_key_id", "model"], ...], Commas] = Field(
        (), description="One or several; user_id is always null, because users are not recorded."
    )
    limit: int | None = Field(
        None, ge=1, description="Buckets per page: 7 (at most 31) days, 24 (168) hours, 60 (1440) minutes."
    )
    page: str | None = _PAGE


class CostsQuery(BaseModel):
    """OpenAI's parameters of costs."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    start_time: int = _START
    end_time: int | None = _END
    bucket_width: Literal["1d"] = Field("1d", description="The width of a bucket.")
    project_ids: Annotated[tuple[str, ...], Commas] = _PROJECTS
    api_key_ids: Annotated[tuple[str, ...], Commas] = _KEYS
    group_by: Annotated[tuple[Literal["project_id", "line_item", "api_key_id"], ...], Commas] = Field(
        (), description="One or several; a line item is a model."
    )
    limit: int | None = Field(None, ge=1, description="Buckets per page: 7, at most 180.")
    page: str | None = _PAGE


class UsageResult(Answer):
    """The use of one group in one bucket; null where it was not grouped by that."""

    input_tokens: int
    num_model_requests: int
    project_id: str | None
    user_id: None
    api_key_id: str | None
    model: str | None
    object: Literal["organization.usage.embeddings.result"] = "organization.usage.embeddings.result"


class Amount(Answer):
    """An amount of money, exact to the nano-dollar."""

    value: Annotated[Decimal, _Exact]
    currency: Literal["usd"] = "usd"


class CostsResult(Answer):
    """The cost of one group in one bucket; null where it was not grouped by that."""

    amount: Amount
    line_item: str | None
    project_id: str | None
    api_key_id: str | None
    quantity: int | None = Field(description="Tokens, where it is grouped by line_item.")
    quantity_unit: Literal["tokens"] | None
    object: Literal["organization.costs.result"] = "organization.costs.result"


R = TypeVar("R", UsageResult, CostsResult)


class Bucket(Answer, Generic[R]):
    """A span of time, in Unix seconds, and what was used in it."""

    start_time: int
    end_time: int
    results: list[R]
    object: Literal["bucket"] = "bucket"


class Buckets(Answer, Generic[R]):
    """Part of the buckets; ``next_page`` asks for the rest."""

    data: list[Bucket[R]]
    has_more: bool
    next_page: str | None
    object: Literal["page"] = "page"


class Span(msgspec.Struct, frozen=True):
    """The buckets of one page: ``[since, until)`` in Unix seconds, cut by ``width`` at whole multiples of it."""

    since: int
    until: int
    width: int
    has_more: bool

    def bounds(self) -> list[tuple[int, int]]:
        """Each bucket's beginning and end."""
        inner = range((self.since // self.width + 1) * self.width, self.until, self.width)
        edges = [self.since, *inner, self.until]
        return list(pairwise(edges))


@operations.get(
    "/v1/organization/usage/embeddings",
    verb="show-embeddings",
    scope=SPENDING,
    name="usage_embeddings",
    summary="Usage, as OpenAI answers it",
    answer=Buckets[UsageResult],
)
async def usage_embeddings(
    request: Private, query: Annotated[UsageQuery, Query()], _: Annotated[None, Depends(check_request)]
) -> Response:
    """Tokens and calls of the account by minute, hour or day, and by key or model."""
    span = span_of(query, BUCKETS[query.bucket_width], int(request.exchange.now.timestamp()) + 1)
    groups: dict[str, GroupBy] = {"project_id": "account", "api_key_id": "key", "model": "model"}
    # By alias as by id: that is what a client sent when it called.
    catalog = request.context.catalog
    models = [catalog.get(name) or name for name in query.models]
    ids = tuple(ModelId(model if isinstance(model, str) else model.id) for model in models)
    sums = await _sums(request, query, span, [groups[name] for name in query.group_by if name in groups], ids or None)
    return _page(span, sums, _usage_result)


@operations.get(
    "/v1/organization/costs",
    verb="show-costs",
    scope=SPENDING,
    name="usage_costs",
    summary="Costs, as OpenAI answers them",
    answer=Buckets[CostsResult],
)
async def usage_costs(
    request: Private, query: Annotated[CostsQuery, Query()], _: Annotated[None, Depends(check_request)]
) -> Response:
    """What the account's calls cost by day, and by key or model: charged, and served beyond the credit."""
    span = span_of(query, COST_BUCKETS, int(request.exchange.now.timestamp()) + 1)
    groups: dict[str, GroupBy] = {"project_id": "account", "api_key_id": "key", "line_item": "model"}
    sums = await _sums(request, query, span, [groups[name] for name in query.group_by], None)
    return _page(span, sums, _costs_result)


def span_of(query: UsageQuery | CostsQuery, buckets: tuple[int, int], now: int) -> Span:
    """The buckets of the page that is asked for. Raises ``InvalidRequest``."""
    usual, most = buckets
    limit = query.limit or usual
    if limit > most:
        raise InvalidRequest(f"'limit' is at most {most} for buckets of {query.bucket_width}.", param="limit")
    end = max(now, query.start_time + 1) if query.end_time is None else query.end_time
    if end <= query.start_time:
        raise InvalidRequest("'start_time' is before 'end_time'.", param="start_time")
    width = WIDTHS[query.bucket_width]
    since = query.start_time if query.page is None else _since_of(query.page)
    if not query.start_time <= since < end:
        raise InvalidRequest("'page' is the next_page of the page before.", param="page")
    until = min(end, (since // width + limit) * width)
    return Span(since, until, width, has_more=until < end)


def _since_of(page: str) -> int:
    try:
        key = opened(page)
    except InvalidRequest:
        key = ""
    if not (key.isascii() and key.isdigit() and len(key) <= len(str(SECONDS_MAX))):
        raise InvalidRequest("'page' is the next_page of the page before.", param="page")
    return int(key)


async def _sums(
    request: PrivateRequest,
    query: UsageQuery | CostsQuery,
    span: Span,
    group_by: Sequence[GroupBy],
    models: tuple[ModelId, ...] | None,
) -> list[UsageSum]:
    account_id = request.account_id
    keys = tuple(_key_of(text) for text in query.api_key_ids)
    if query.project_ids and wire(AccountId, account_id) not in query.project_ids:
        return []
    which = UsageFilter(
        datetime.fromtimestamp(span.since, UTC),
        datetime.fromtimestamp(span.until, UTC),
        account_id=account_id,
        key_ids=keys or None,
        model_ids=models,
    )

    async def ask(connection: AsyncConnection) -> list[UsageSum]:
        return await sum_rolled_buckets(connection, which, span.width, group_by, limit=ROWS_MAX + 1)

    sums = await read(request.context, ask)
    if len(sums) > ROWS_MAX:
        raise InvalidRequest(f"These are more than {ROWS_MAX} results: ask for fewer buckets.", param="limit")
    return sums


def _key_of(text: str) -> KeyId:
    try:
        return KeyId(parse(KeyId, text))
    except ValueError:
        raise InvalidRequest("'api_key_ids' are ids such as key_….", param="api_key_ids") from None


def _page(span: Span, sums: Sequence[UsageSum], result: Any) -> Response:  # noqa: ANN401 - of either kind
    found: dict[int | None, list[dict[str, Any]]] = {}
    for row in sums:
        found.setdefault(row.bucket, []).append(result(row))
    data = [
        {"object": "bucket", "start_time": start, "end_time": end, "results": found.get(start // span.width, [])}
        for start, end in span.bounds()
    ]
    following = closed(str(span.until)) if span.has_more else None
    body = {"object": "page", "data": data, "has_more": span.has_more, "next_page": following}
    return Response(_encode(body), media_type="application/json", headers={"cache-control": "no-store"})


def _usage_result(row: UsageSum) -> dict[str, Any]:
    return {
        "object": "organization.usage.embeddings.result",
        "input_tokens": row.tokens,
        "num_model_requests": row.calls,
        **_names(row),
        "user_id": None,
        "model": row.model_id,
    }


def _costs_result(row: UsageSum) -> dict[str, Any]:
    has_item = row.model_id is not None
    return {
        "object": "organization.costs.result",
        "amount": {"value": Decimal(to_usd(row.charged + row.overdraft)), "currency": "usd"},
        "line_item": row.model_id,
        **_names(row),
        "quantity": row.tokens if has_item else None,
        "quantity_unit": "tokens" if has_item else None,
    }


def _names(row: UsageSum) -> dict[str, str | None]:
    return {
        "project_id": None if row.account_id is None else wire(AccountId, row.account_id),
        "api_key_id": None if row.key_id is None else wire(KeyId, row.key_id),
    }
