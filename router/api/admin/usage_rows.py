"""Builds an operator's report of usage: with accounts, providers and what they cost us, and names beside the ids."""

from collections.abc import Sequence

import msgspec
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import account_names
from billing.usage import GroupBy, UsageSum
from router.api.fields import AccountIdText, ProviderIdText, Usd
from router.api.periods import Period
from router.api.usage_report import Report, UsageRow, UsageSums, csv_bytes, sums_of, totals_of
from router.identity.key_views import key_names
from router.registry.indexes import SANDBOX_PROVIDER
from router.registry.providers import list_providers
from store.ids import AccountId, KeyId, ProviderId


class OperatorUsageSums(UsageSums):
    """Calls, tokens and money, what of it is revenue, and what providers cost us."""

    promotional_usd: Usd = Field(description="Of what was charged, what promotional credit paid.")
    goodwill_usd: Usd = Field(description="Of what was charged, what goodwill credit paid.")
    revenue_usd: Usd = Field(description="Charged and overdraft, less what promotional and goodwill credit paid.")
    provider_cost_usd: Usd


class OperatorUsageRow(UsageRow, OperatorUsageSums):
    """Usage of one group; null where it was not grouped by that."""

    columns = (
        *("day", "account_name", "key_name", "model", "provider_name"),
        *("calls", "tokens", "charged_usd"),
    )

    account: AccountIdText | None = None
    account_name: str | None = None
    provider: ProviderIdText | None = None
    provider_name: str | None = None


class OperatorUsageOut(Report):
    """Usage of all accounts, or of those that were asked for."""

    group_by: tuple[GroupBy, ...]
    data: list[OperatorUsageRow]
    totals: OperatorUsageSums


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


def _rows(sums: Sequence[UsageSum], names: Names) -> list[OperatorUsageRow]:
    return [
        OperatorUsageRow(
            account=row.account_id,
            account_name=None if row.account_id is None else names.accounts.get(row.account_id),
            key=row.key_id,
            key_name=None if row.key_id is None else names.keys.get(row.key_id),
            model=row.model_id,
            lane=row.lane,
            hour=row.hour,
            day=row.day,
            month=row.month,
            provider=row.provider_id,
            provider_name=None if row.provider_id is None else names.providers.get(row.provider_id),
            **sums_of(row, OperatorUsageSums),
        )
        for row in sums
    ]


def operator_json(span: Period, group_by: tuple[GroupBy, ...], sums: Sequence[UsageSum], names: Names) -> bytes:
    """All rows and their totals."""
    totals = OperatorUsageSums(**sums_of(totals_of(sums), OperatorUsageSums))
    rows = _rows(sums, names)
    answer = OperatorUsageOut(since=span.since, until=span.until, group_by=group_by, data=rows, totals=totals)
    return answer.model_dump_json().encode()


def operator_csv(span: Period, group_by: tuple[GroupBy, ...], sums: Sequence[UsageSum], names: Names) -> bytes:
    """All rows for a spreadsheet."""
    return csv_bytes(span, group_by, _rows(sums, names), OperatorUsageRow, OperatorUsageSums)
