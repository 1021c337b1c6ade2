"""``/admin/v1/usage``: calls, tokens and money over a span of time, grouped; as JSON, or as CSV for a spreadsheet."""

import asyncio
from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.usage import GroupBy, UsageFilter, UsageSum, sum_usage
from router.api.admin.references import account_of, key_of, model_of, provider_of
from router.api.admin.request import Read, Reading
from router.api.admin.usage_rows import Names, UsageOut, csv_bytes, json_bytes, names_of
from router.api.fields import (
    AccountRef,
    DayOrInstant,
    KeyRef,
    ModelRef,
    ProviderRef,
)
from router.api.operation import ALL, JSON, V1, Operations
from router.api.periods import Period, PeriodText, month_of
from router.errors import InvalidRequest
from store.ids import ModelId

operations = Operations("usage", f"{V1}/usage")

CSV = "text/csv"
ROWS_MAX = 100_000


def _split(given: object) -> object:
    """``account,model`` is ``account`` and ``model``."""
    return [name for text in given for name in str(text).split(",")] if isinstance(given, list) else given


class UsageQuery(BaseModel):
    """Whose usage, when, by what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group_by: Annotated[tuple[GroupBy, ...], BeforeValidator(_split)] = Field(
        ("day",), description="account, key, model, day, provider: one or several, with commas or repeated."
    )
    period: PeriodText | None = Field(
        None, description="A month, quarter or year in UTC, such as 2026-11, 2026-Q4, 2026; by default this month."
    )
    since: DayOrInstant | None = Field(None, alias="from", description="From this day (UTC) or instant on.")
    until: DayOrInstant | None = Field(
        None, alias="to", description="Up to this day (UTC) or instant, which is not part of it; by default now."
    )
    account: AccountRef | None = Field(None, description="That of this account.")
    key: KeyRef | None = Field(None, description="That of this key.")
    model: ModelRef | None = Field(None, description="That of this model.")
    provider: ProviderRef | None = Field(None, description="What this provider served.")
    format: Literal["json", "csv"] | None = Field(None, description="json or csv; by default as Accept says.")


@operations.get("", verb="list", name="admin_usage", summary="Sum usage", roles=ALL, answer=UsageOut, media=(JSON, CSV))
async def list_(admin: Read, query: Annotated[UsageQuery, Query()]) -> Response:
    """Calls, tokens and money by account, key, model, day or provider; the sums are the ledger's."""
    span, group_by = _span(admin, query), tuple(dict.fromkeys(query.group_by))
    media = admin.media if query.format is None else {"json": JSON, "csv": CSV}[query.format]

    async def ask(connection: AsyncConnection) -> tuple[list[UsageSum], Names]:
        which = await _filter(connection, query, span)
        sums = await sum_usage(connection, which, group_by, limit=ROWS_MAX + 1)
        if len(sums) > ROWS_MAX:
            raise InvalidRequest(
                f"These are more than {ROWS_MAX} rows: ask for a shorter time, or group by less.", param="group_by"
            )
        return sums, await names_of(connection, sums)

    sums, names = await admin.read(ask)
    # A hundred thousand rows take a second to write.
    body = await asyncio.to_thread(csv_bytes if media == CSV else json_bytes, span, group_by, sums, names)
    return admin.respond(body, media)


def _span(admin: Reading, query: UsageQuery) -> Period:
    """Raises ``InvalidRequest``."""
    if query.since is None and query.until is None:
        return query.period or month_of(admin.exchange.now)
    if query.period is not None:
        raise InvalidRequest("Give 'period', or 'from' and 'to'.", param="period")
    if query.since is None:
        raise InvalidRequest("'from' is missing.", param="from")
    span = Period(query.since, query.until or admin.exchange.now)
    if span.until <= span.since:
        raise InvalidRequest("'from' is before 'to'.", param="from")
    return span


async def _filter(connection: AsyncConnection, query: UsageQuery, span: Period) -> UsageFilter:
    """Raises ``NotFound``, ``Conflict`` and ``ModelUnknown`` for what is named."""
    return UsageFilter(
        span.since,
        span.until,
        account_id=None if query.account is None else (await account_of(connection, query.account)).id,
        key_id=None if query.key is None else (await key_of(connection, query.key)).id,
        model_id=None if query.model is None else ModelId((await model_of(connection, query.model)).id),
        provider_id=None if query.provider is None else (await provider_of(connection, query.provider)).id,
    )
