"""`gigarouter admin acceptances`."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.licenses import accepted_by_account
from gigarouter.commands.admin.output import AsJson, Row, show_list, show_one
from gigarouter.commands.admin.session import account_of, read, write
from router.administer import accept_license
from router.write import Work

app = typer.Typer(no_args_is_help=True)


@app.command("create")
def create(
    account: Annotated[str, typer.Argument(help="Id or name.")],
    license: Annotated[str, typer.Argument(help="The license whose text, as it is now, is accepted.")],
    by: Annotated[str, typer.Option(help="Who said yes for the account, such as an e-mail address.")],
    as_json: AsJson = False,
) -> None:
    """Record an account's yes to a license text."""

    async def change(work: Work) -> str:
        account_id = (await account_of(work.connection, account)).id
        return await accept_license(work, account_id, license, accepted_by=by)

    show_one({"text": write(change)}, as_json=as_json)


@app.command("list")
def list_all(account: str, as_json: AsJson = False) -> None:
    """The license texts that an account accepted."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        account_id = (await account_of(connection, account)).id
        accepted = await accepted_by_account(connection, account_id)
        return [{"text": token} for token in sorted(accepted.get(account_id, frozenset()))]

    show_list(read(ask), as_json=as_json)
