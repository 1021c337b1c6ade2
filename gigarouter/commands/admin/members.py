"""`gigarouter admin members`."""

from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from gigarouter.commands.admin.output import AsJson, Row, instant, show_list, show_one
from gigarouter.commands.admin.session import account_of, id_of, read, write
from router.changes.transaction import UnitOfWork
from router.identity.members import Member, Role, add_member, change_role, list_members, remove_member
from store.ids import AccountId, MemberId, wire

app = typer.Typer(no_args_is_help=True)
OptionalAccount = Annotated[str | None, typer.Option("--account", help="Id or name; without one, an operator.")]


@app.command("add")
def add(
    email: str,
    role: Annotated[Role, typer.Option(help="owner, developer, finance; of operators ops, finance_admin.")],
    account: OptionalAccount = None,
    name: str = "",
    as_json: AsJson = False,
) -> None:
    """Add a person to an account, or an operator."""

    async def change(work: UnitOfWork) -> Member:
        account_id = None if account is None else (await account_of(work.connection, account)).id
        return await add_member(work, account_id, email, role, name)

    show_one(_row(write(change)), as_json=as_json)


@app.command("list")
def list_all(account: OptionalAccount = None, as_json: AsJson = False) -> None:
    """The members of an account, or the operators."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        account_id = None if account is None else (await account_of(connection, account)).id
        return [_row(member) for member in await list_members(connection, account_id)]

    show_list(read(ask), as_json=as_json)


@app.command("role")
def role(member: str, to: Role, as_json: AsJson = False) -> None:
    """Change a person's role."""
    member_id = MemberId(id_of(MemberId, member))
    show_one(_row(write(lambda work: change_role(work, member_id, to))), as_json=as_json)


@app.command("remove")
def remove(member: str) -> None:
    """Take a person out."""
    member_id = MemberId(id_of(MemberId, member))
    write(lambda work: remove_member(work, member_id))


def _row(member: Member) -> Row:
    return {
        "id": wire(MemberId, member.id),
        "account": None if member.account_id is None else wire(AccountId, member.account_id),
        "email": member.email,
        "name": member.name,
        "role": member.role,
        "created_at": instant(member.created_at),
    }
