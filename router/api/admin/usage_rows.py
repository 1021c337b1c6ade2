"""Answers sums of usage with names beside the ids, as JSON with totals or as CSV for a spreadsheet."""

import csv
import io
from collections.abc import Sequence
from datetime import date
from typing import ClassVar, Literal

import msgspec
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import account_names
from billing.money import NanoUSD
from billing.usage import GroupBy, UsageSum
from router.api.fields import AccountIdText, Instant, KeyIdText, ProviderIdText, Usd
from router.api.forms import Answer
from router.api.periods import Period
from router.identity.key_commands import key_names
from router.registry.indexes import SANDBOX_PROVIDER
from router.registry.providers import list_providers
from store.ids import AccountId, KeyId, ProviderId

# With these a spreadsheet takes a cell for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class UsageSums(Answer):
    """Calls, tokens and money. What calls cost is charged, or overdraft: served beyond the credit."""

    calls: int
    inputs: int
    tokens: int
    charged_usd: Usd
    overdraft_usd: Usd
    provider_cost_usd: Usd


class UsageRow(UsageSums):
    """Usage of one group; null where it was not grouped by that."""

    columns: ClassVar[tuple[str, ...]] = (
        *("day", "account_name", "key_name", "model", "provider_name"),
        *("calls", "tokens", "charged_usd"),
    )

    account: AccountIdText | None = None
    account_name: str | None = None
    key: KeyIdText | None = None
    key_name: str | None = None
    model: str | None = None
    day: date | None = None
    provider: ProviderIdText | None = None
    provider_name: str | None = None


class UsageOut(Answer):
    """Usage over ``[from, to)``; days are UTC's."""

    since: Instant = Field(serialization_alias="from")
    until: Instant = Field(serialization_alias="to")
    timezone: Literal["UTC"] = "UTC"
    group_by: tuple[GroupBy, ...]
    data: list[UsageRow]
    totals: UsageSums
    currency: Literal["USD"] = "USD"
    object: Literal["usage"] = "usage"


class Names(msgspec.Struct, frozen=True):
    """The names beside the ids."""

    accounts: dict[AccountId, str]
    keys: dict[KeyId, str]
    providers: dict[ProviderId, str]


async def names_of(connection: AsyncConnection, sums: Sequence[UsageSum]) -> Names:
    """The names of what is in some rows."""
    accounts = {row.account_id for row in sums if row.account_id is not None}
    keys = {row.key_id for row in sums if row.key_id is not None}
    providers = {view.id: view.name for view in await list_providers(connection)}
    return Names(
        await account_names(connection, accounts),
        await key_names(connection, keys),
        providers | {SANDBOX_PROVIDER: "sandbox"},
    )


def _rows(sums: Sequence[UsageSum], names: Names) -> list[UsageRow]:
    return [
        UsageRow(
            account=row.account_id,
            account_name=None if row.account_id is None else names.accounts.get(row.account_id),
            key=row.key_id,
            key_name=None if row.key_id is None else names.keys.get(row.key_id),
            model=row.model_id,
            day=row.day,
            provider=row.provider_id,
            provider_name=None if row.provider_id is None else names.providers.get(row.provider_id),
            calls=row.calls,
            inputs=row.inputs,
            tokens=row.tokens,
            charged_usd=row.charged,
            overdraft_usd=row.overdraft,
            provider_cost_usd=row.provider_cost,
        )
        for row in sums
    ]


def json_bytes(span: Period, group_by: tuple[GroupBy, ...], sums: Sequence[UsageSum], names: Names) -> bytes:
    """All rows and their totals."""
    totals = UsageSums(
        calls=sum(row.calls for row in sums),
        inputs=sum(row.inputs for row in sums),
        tokens=sum(row.tokens for row in sums),
        charged_usd=NanoUSD(sum(row.charged for row in sums)),
        overdraft_usd=NanoUSD(sum(row.overdraft for row in sums)),
        provider_cost_usd=NanoUSD(sum(row.provider_cost for row in sums)),
    )
    answer = UsageOut(since=span.since, until=span.until, group_by=group_by, data=_rows(sums, names), totals=totals)
    return answer.model_dump_json().encode()


def csv_bytes(span: Period, group_by: tuple[GroupBy, ...], sums: Sequence[UsageSum], names: Names) -> bytes:
    """The columns that were grouped by, and the sums; each row says its span of time, in UTC."""
    named = {"account", "key", "provider"}
    groups = [column for group in group_by for column in ((group, f"{group}_name") if group in named else (group,))]
    columns = [*groups, *UsageSums.model_fields]
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(["from", "to", *columns, "currency"])
    bounds = [f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (span.since, span.until)]
    for row in _rows(sums, names):
        facts = row.model_dump(mode="json")
        writer.writerow([*bounds, *(_cell(facts[column]) for column in columns), "USD"])
    return sink.getvalue().encode()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
