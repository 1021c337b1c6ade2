"""`gigarouter admin usage`."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.usage import GroupBy, UsageFilter, sum_usage
from gigarouter.commands.admin.instants import period_of
from gigarouter.commands.admin.output import AsJson, Row, show_list
from gigarouter.commands.admin.session import account_of, read


def command(
    period: Annotated[str | None, typer.Option(help="2026-11, 2026-Q4 or 2026; by default this month.")] = None,
    group_by: Annotated[GroupBy, typer.Option(help="day, model, key or account.")] = "day",
    account: Annotated[str | None, typer.Option(help="Id or name; by default all accounts.")] = None,
    as_json: AsJson = False,
) -> None:
    """Calls, tokens and money over a period, in UTC."""
    since, until = period_of(period or f"{datetime.now(UTC):%Y-%m}")

    async def ask(connection: AsyncConnection) -> list[Row]:
        account_id = None if account is None else (await account_of(connection, account)).id
        return [
            {
                group_by: str(getattr(one, "day" if group_by == "day" else f"{group_by}_id")),
                "calls": one.calls,
                "tokens": one.tokens,
                "charged_usd": to_usd(one.charged),
                "overdraft_usd": to_usd(one.overdraft),
                "provider_cost_usd": to_usd(one.provider_cost),
            }
            for one in await sum_usage(connection, UsageFilter(since, until, account_id), (group_by,))
        ]

    show_list(read(ask), as_json=as_json)
