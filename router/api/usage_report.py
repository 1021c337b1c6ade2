"""Answers sums of usage as JSON with totals, or as CSV for a spreadsheet; an operator's report has columns of its own.

A customer's report knows nothing of providers: :class:`UsageSums` and :class:`UsageRow` have no field for them.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from billing.money import NanoUSD
from billing.usage import UsageSum
from router.api.accept import preferred
from router.api.fields import Instant, KeyIdText, Usd, rfc3339
from router.api.forms import Answer
from router.api.operation import CSV, JSON
from router.api.periods import Period
from router.api.spreadsheet import csv_text
from router.errors import InvalidRequest

MEDIA = (JSON, CSV)


def _split(given: object) -> object:
    return [name for text in given for name in str(text).split(",")] if isinstance(given, list) else given


# ``account,model`` is ``account`` and ``model``.
Commas = BeforeValidator(_split)


class UsageSums(Answer):
    """Calls, tokens and money. What calls cost is charged, or overdraft: served beyond the credit."""

    calls: int
    inputs: int
    tokens: int
    free_calls: int = Field(description="Of the calls, those that cost nothing: test keys', and at price zero.")
    free_tokens: int = Field(description="Of the tokens, those of free calls.")
    charged_usd: Usd
    overdraft_usd: Usd


class UsageRow(UsageSums):
    """Usage of one group; null where it was not grouped by that."""

    columns: ClassVar[tuple[str, ...]] = ("day", "key_name", "model", "calls", "tokens", "charged_usd")

    key: KeyIdText | None = None
    key_name: str | None = None
    model: str | None = None
    lane: str | None = Field(None, description="batch: charged the batch price, where that is another than the usual.")
    hour: Instant | None = None
    day: date | None = None
    month: str | None = None


class Report(Answer):
    """Usage over ``[from, to)``; days and months are those of ``timezone``."""

    since: Instant = Field(serialization_alias="from")
    until: Instant = Field(serialization_alias="to")
    timezone: str = "UTC"
    currency: Literal["USD"] = "USD"
    object: Literal["usage"] = "usage"


class UsageOut(Report):
    """An account's usage."""

    group_by: tuple[str, ...]
    data: list[UsageRow]
    totals: UsageSums


def sums_of(row: UsageSum, kind: type[UsageSums]) -> dict[str, Any]:
    """The fields of ``kind`` that are sums."""
    sums = {
        "calls": row.calls,
        "inputs": row.inputs,
        "tokens": row.tokens,
        "free_calls": row.free_calls,
        "free_tokens": row.free_tokens,
        "charged_usd": row.charged,
        "overdraft_usd": row.overdraft,
        "promotional_usd": row.promotional,
        "goodwill_usd": row.goodwill,
        "revenue_usd": row.revenue,
        "provider_cost_usd": row.provider_cost,
    }
    return {name: value for name, value in sums.items() if name in kind.model_fields}


def totals_of(rows: Sequence[UsageSum]) -> UsageSum:
    """The sum of all rows."""
    return UsageSum(
        calls=sum(row.calls for row in rows),
        inputs=sum(row.inputs for row in rows),
        tokens=sum(row.tokens for row in rows),
        free_calls=sum(row.free_calls for row in rows),
        free_tokens=sum(row.free_tokens for row in rows),
        charged=NanoUSD(sum(row.charged for row in rows)),
        overdraft=NanoUSD(sum(row.overdraft for row in rows)),
        promotional=NanoUSD(sum(row.promotional for row in rows)),
        goodwill=NanoUSD(sum(row.goodwill for row in rows)),
        provider_cost=NanoUSD(sum(row.provider_cost for row in rows)),
    )


def media_of(wanted: str | None, accept: str | None) -> str:
    """The type of the answer: ``?format=`` goes before the Accept header."""
    return preferred(accept, MEDIA) if wanted is None else {"json": JSON, "csv": CSV}[wanted]


def check_rows(sums: Sequence[UsageSum], rows_max: int) -> None:
    """Raise ``InvalidRequest`` for more than ``rows_max`` rows."""
    if len(sums) > rows_max:
        raise InvalidRequest(
            f"These are more than {rows_max} rows: ask for a shorter time, or group by less.", param="group_by"
        )


def csv_bytes(
    span: Period, group_by: Sequence[str], rows: Sequence[UsageRow], row_type: type[UsageRow], sums: type[UsageSums]
) -> bytes:
    """The columns that were grouped by, and the sums; each row says its span of time, in UTC."""
    named = [(group, f"{group}_name") for group in group_by]
    groups = [column for pair in named for column in pair if column in row_type.model_fields]
    columns = [*groups, *sums.model_fields]
    bounds = [rfc3339(span.since), rfc3339(span.until)]
    dumped = (row.model_dump(mode="json", include=set(columns)) for row in rows)
    cells = ([*bounds, *(facts[column] for column in columns), "USD"] for facts in dumped)
    return csv_text(["from", "to", *columns, "currency"], cells).encode()
