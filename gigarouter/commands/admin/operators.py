"""`gigarouter admin operators`: keys for the admin API, which are made here alone. A key is printed once."""

from datetime import datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from gigarouter.commands.admin.instants import instant_of
from gigarouter.commands.admin.output import AsJson, Row, instant, show_list, show_one
from gigarouter.commands.admin.session import id_of, read, write
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.identity.members import Member, Role, add_member, list_members
from router.identity.operators import (
    OperatorKeyView,
    create_operator_key,
    list_operator_keys,
    revoke_operator_key,
)
from store.ids import MemberId, OperatorKeyId, wire

app = typer.Typer(no_args_is_help=True)


@app.command("create")
def create(
    email: Annotated[str, typer.Argument(help="The operator's; a person who is none yet becomes one.")],
    *,
    role: Annotated[
        Role | None, typer.Option(help="ops (all but money) or finance_admin (money); needed for a new operator.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the key is for, such as a machine's name.")] = "default",
    expires: Annotated[str | None, typer.Option(help="2026-12-31 or 90d.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key of an operator and print it, once."""

    async def change(work: UnitOfWork) -> tuple[str, OperatorKeyView]:
        member = await _operator(work, email, role)
        until: datetime | None = instant_of(expires, work.now)
        return await create_operator_key(work, member.id, name, expires_at=until)

    text, view = write(change)
    show_one({"key": text, **_row(view)}, as_json=as_json)
    typer.secho("The key is shown this once and stored nowhere. Keep it now.", err=True, fg="yellow")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """All operators' keys, without the keys."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        return [_row(view) for view in await list_operator_keys(connection)]

    show_list(read(ask), as_json=as_json)


@app.command("revoke")
def revoke(key: Annotated[str, typer.Argument(help="Its id, opkey_….")], as_json: AsJson = False) -> None:
    """End a key for good, everywhere within a second."""
    key_id = OperatorKeyId(id_of(OperatorKeyId, key))
    show_one(_row(write(lambda work: revoke_operator_key(work, key_id))), as_json=as_json)


async def _operator(work: UnitOfWork, email: str, role: Role | None) -> Member:
    known = [m for m in await list_members(work.connection, None) if m.email.lower() == email.lower()]
    if not known:
        if role is None:
            raise InvalidRequest(f"{email} is no operator yet: --role says which kind, ops or finance_admin.")
        return await add_member(work, None, email, role)
    if role is not None and role is not known[0].role:
        raise InvalidRequest(f"{email} is {known[0].role.value}; `gigarouter admin members role` changes that.")
    return known[0]


def _row(view: OperatorKeyView) -> Row:
    return {
        "id": wire(OperatorKeyId, view.id),
        "operator": view.email,
        "role": view.role,
        "member": wire(MemberId, view.member_id),
        "name": view.name,
        "shown_as": view.masked,
        "state": "revoked" if view.revoked_at else "active",
        "created_at": instant(view.created_at),
        "expires_at": instant(view.expires_at),
    }
