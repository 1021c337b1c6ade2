"""`gigarouter admin grants`: credit."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.credits import Grant, GrantKind, list_grants
from billing.money import to_usd
from gigarouter.commands.admin.instants import instant_of
from gigarouter.commands.admin.output import AsJson, Row, instant, show_list, show_one
from gigarouter.commands.admin.session import account_of, read, usd, write
from router.admin.credit import give_credit
from router.changes.transaction import UnitOfWork
from store.ids import GrantId, new_id, wire

app = typer.Typer(no_args_is_help=True)


@app.command("create")
def create(
    account: Annotated[str, typer.Argument(help="Id or name.")],
    amount: Annotated[str, typer.Argument(help="USD, such as 25.00.")],
    *,
    kind: GrantKind = GrantKind.PROMOTIONAL,
    source: Annotated[
        str | None,
        typer.Option(
            help="The fact behind it, such as an invoice; the same one is granted once, so it can be retried."
        ),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="2026-12-31 or 90d.")] = None,
    note: str = "",
    as_json: AsJson = False,
) -> None:
    """Give an account credit."""
    nano, fact = usd(amount), source or f"cli:{new_id()}"

    async def change(work: UnitOfWork) -> Grant:
        account_id = (await account_of(work.connection, account)).id
        until = instant_of(expires, work.now)
        return await give_credit(work, account_id, nano, kind, source=fact, expires_at=until, note=note)

    show_one(_row(write(change)), as_json=as_json)


@app.command("list")
def list_all(account: str, as_json: AsJson = False) -> None:
    """An account's grants and what is left of each."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        account_id = (await account_of(connection, account)).id
        return [_row(grant) for grant in await list_grants(connection, account_id)]

    show_list(read(ask), as_json=as_json)


def _row(grant: Grant) -> Row:
    return {
        "id": wire(GrantId, grant.id),
        "kind": grant.kind,
        "amount_usd": to_usd(grant.amount),
        "remaining_usd": to_usd(grant.remaining),
        "source": grant.source_ref,
        "granted_at": instant(grant.granted_at),
        "expires_at": instant(grant.expires_at),
    }
