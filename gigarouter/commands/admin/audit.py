"""`gigarouter admin audit`."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from gigarouter.commands.admin.output import AsJson, Row, instant, show_list
from gigarouter.commands.admin.session import account_of, read
from router.changes.audit import list_changes

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _noun() -> None:
    """One command so far, and still a noun."""


@app.command("list")
def list_all(
    account: Annotated[str | None, typer.Option(help="Only what concerns this account.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only this id: key_…, ep_…, a model.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """Who changed what, the newest first."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        account_id = None if account is None else (await account_of(connection, account)).id
        return [
            {
                "at": instant(one.at),
                "actor": one.actor,
                "action": one.change.action,
                "subject": one.change.subject,
                "before": one.change.before,
                "after": one.change.after,
                "reason": one.change.reason,
            }
            for one in await list_changes(connection, subject=subject, account_id=account_id, limit=limit)
        ]

    show_list(read(ask), as_json=as_json)
