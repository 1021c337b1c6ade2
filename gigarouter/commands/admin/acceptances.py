"""`gigarouter admin acceptances`."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import record
from catalog.record import Acceptance
from gigarouter.commands.admin.output import AsJson, Row, instant, show_list, show_one
from gigarouter.commands.admin.session import NOT_FOUND, account_of, fail, id_of, read, write
from router.admin.licenses import accept_license
from router.changes.transaction import UnitOfWork
from store.ids import AcceptanceId, wire

app = typer.Typer(no_args_is_help=True)


@app.command("create")
def create(
    account: Annotated[str, typer.Argument(help="Id or name.")],
    license: Annotated[str, typer.Argument(help="The license whose text, as it is now, is accepted.")],
    by: Annotated[str, typer.Option(help="Who said yes for the account, such as an e-mail address.")],
    as_json: AsJson = False,
) -> None:
    """Record an account's yes to a license text."""

    async def change(work: UnitOfWork) -> Acceptance:
        account_id = (await account_of(work.connection, account)).id
        return await accept_license(work, account_id, license, accepted_by=by)

    show_one(_row(write(change)), as_json=as_json)


@app.command("list")
def list_all(account: str, as_json: AsJson = False) -> None:
    """The license texts that an account accepted."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        account_id = (await account_of(connection, account)).id
        return [_row(accepted) for accepted in await record.acceptances(connection, account_id=account_id)]

    show_list(read(ask), as_json=as_json)


@app.command("show")
def show(acceptance: str, as_json: AsJson = False) -> None:
    """One acceptance."""
    known = AcceptanceId(id_of(AcceptanceId, acceptance))
    found = read(lambda connection: record.find_acceptance(connection, known))
    if found is None:
        fail(f"There is no acceptance {acceptance}.", NOT_FOUND)
    show_one(_row(found), as_json=as_json)


def _row(accepted: Acceptance) -> Row:
    return {
        "id": wire(AcceptanceId, accepted.id),
        "text": accepted.text,
        "accepted_by": accepted.accepted_by,
        "accepted_at": instant(accepted.accepted_at),
    }
