"""Serves ``GET /v1/requests``: the log of an account's calls, with refusals and failures, as pages or as CSV."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Depends, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from router.api.csv_stream import CsvStream
from router.api.fields import DayOrInstant, Instant, KeyIdText, ModelRef, Usd
from router.api.forms import Answer, Page, PageQuery, closed
from router.api.operation import CSV, JSON, Operations, Who, check_request
from router.api.periods import Period
from router.api.public.postgres import read
from router.api.public.request import Private
from router.api.usage_report import media_of
from router.context import RouterContext
from router.errors import InvalidRequest
from router.explain.call_csv import copy_calls
from router.explain.call_log import Outcome
from router.explain.calls import CallFilter, CallPage, LoggedCall, list_calls
from router.explain.receipts import KEPT_DAYS
from router.identity.key_views import key_names
from router.identity.scopes import Scope
from store.ids import AccountId, KeyId, ModelId, RequestId, wire

operations = Operations("requests", who=Who.KEY)
SLOW_MS_MAX = 2**31 - 1
TOO_MANY = InvalidRequest("These are more calls than can be listed at once. Ask for a shorter time.", param="from")


class CallsQuery(PageQuery):
    """Which calls."""

    since: DayOrInstant | None = Field(None, alias="from", description="From this day (UTC) or instant on.")
    until: DayOrInstant | None = Field(
        None, alias="to", description="Up to this day (UTC) or instant, which is not part of it; by default now."
    )
    key_id: KeyIdText | None = Field(None, description="Those of this key of the account.")
    model: ModelRef | None = Field(None, description="Those of this model, by id or alias.")
    outcome: Outcome | None = Field(
        None, description="answered, replayed (a stored answer again), refused, failed, or canceled (the client left)."
    )
    code: str | None = Field(
        None, max_length=64, pattern="^[a-z0-9_]+$", description="Those with this error, such as key_budget_exhausted."
    )
    slower_than_ms: int | None = Field(
        None, ge=0, le=SLOW_MS_MAX, description="Those that took longer, in milliseconds."
    )
    format: Literal["json", "csv"] | None = Field(
        None, description="csv: the whole selection, whatever limit says; by default as Accept says."
    )

    def span(self, now: datetime) -> Period:
        """The span of time, within the days for which calls are kept. Raises ``InvalidRequest``."""
        until = self.until or now + timedelta(seconds=1)
        since = self.since or now - timedelta(days=KEPT_DAYS + 7)
        if self.since is not None and until <= since:
            raise InvalidRequest("'from' is before 'to'.", param="from")
        return Period(since, until)


class CallOut(Answer):
    """A call as the log has it; ``GET /v1/requests/{id}`` explains it."""

    columns: ClassVar[tuple[str, ...]] = ("created_at", "model", "outcome", "code", "took_ms", "tokens", "cost_usd")

    id: str
    created_at: Instant
    key: KeyIdText | None
    key_name: str | None
    model: str | None = Field(description="Null where the call had none that exists.")
    lane: Literal["interactive", "batch"]
    outcome: Outcome
    code: str | None = Field(description="The error that it was answered with.")
    took_ms: int
    tokens: int | None = Field(description="Billed tokens; null where nothing was charged.")
    cost_usd: Usd | None = Field(description="What it came to; null where nothing was charged.")
    attempts: int
    object: Literal["request"] = "request"


class CallsOut(Page[CallOut]):
    """Calls, the newest first, of those that the log keeps."""

    kept_days: int = Field(
        description="For how long calls are in the log; what they were charged is in /v1/usage for good."
    )
    searched_to: Instant | None = Field(
        None, description="Where the search ended before the page was full; next_cursor goes on from there."
    )


@operations.get(
    "/v1/requests", verb="list", scope=Scope.USAGE_READ, summary="List requests", answer=CallsOut, media=(JSON, CSV)
)
async def list_requests(
    request: Private, query: Annotated[CallsQuery, Query()], _: Annotated[None, Depends(check_request)]
) -> CallsOut | Response:
    """The account's calls of the last 30 days, the newest first: answered, refused and failed ones.

    Of an account's refusals at most 20 in half a second are in it. CSV is streamed and has the whole selection.
    """
    which = call_filter(query, request.account_id, request.context, request.exchange.now)
    if media_of(query.format, request.accept) == CSV:
        return CsvStream(partial(copy_calls, request.context.db, which), "requests.csv")
    before = query.after_id(RequestId)
    page, names = await find_calls(request.context, which, None if before is None else RequestId(before), query.limit)
    return request.paging.linked(calls_out(page, names, query.limit))


def call_filter(query: CallsQuery, account_id: AccountId, context: RouterContext, now: datetime) -> CallFilter:
    """The filter that a query means, of one account's calls."""
    span = query.span(now)
    return CallFilter(
        account_id=account_id,
        since=span.since,
        until=span.until,
        key_ids=None if query.key_id is None else (query.key_id,),
        model_id=None if query.model is None else _model_id(query.model, context),
        outcome=query.outcome,
        code=query.code,
        slower_than_ms=query.slower_than_ms,
    )


async def find_calls(
    context: RouterContext, which: CallFilter, before: RequestId | None, limit: int
) -> tuple[CallPage, dict[KeyId, str]]:
    """Find a page and one call more, with the names of their keys. Raises ``StoreUnavailable``."""

    async def ask(connection: AsyncConnection) -> tuple[CallPage, dict[KeyId, str]]:
        page = await list_calls(connection, which, before, limit + 1)
        return page, await key_names(connection, {call.key_id for call in page.calls if call.key_id is not None})

    return await read(context, ask, what="The log of calls", too_large=TOO_MANY)


def calls_out(page: CallPage, names: dict[KeyId, str], limit: int) -> CallsOut:
    """Convert a page to its form in the API."""
    calls = page.calls[:limit]
    following = calls[-1].request_id if len(page.calls) > limit else page.searched_to
    ended_early = len(page.calls) <= limit and page.searched_to is not None
    return CallsOut(
        kept_days=KEPT_DAYS,
        data=[_out(call, names) for call in calls],
        has_more=following is not None,
        next_cursor=None if following is None else closed(wire(RequestId, following)),
        searched_to=_time_of(page.searched_to) if ended_early and page.searched_to is not None else None,
    )


def _model_id(name: str, context: RouterContext) -> ModelId:
    model = context.catalog.get(name)
    return ModelId(name) if model is None else model.id


def _time_of(request_id: RequestId) -> datetime:
    return datetime.fromtimestamp((request_id.int >> 80) / 1000, tz=UTC)


def _out(call: LoggedCall, names: dict[KeyId, str]) -> CallOut:
    facts: dict[str, Any] = {name: getattr(call, name) for name in ("lane", "took_ms", "tokens", "attempts")}
    return CallOut(
        id=wire(RequestId, call.request_id),
        created_at=call.at,
        key=call.key_id,
        key_name=None if call.key_id is None else names.get(call.key_id),
        model=call.model_id,
        outcome=Outcome(call.outcome),
        code=call.code or None,
        cost_usd=None if call.cost_nano is None else NanoUSD(call.cost_nano),
        **facts,
    )
