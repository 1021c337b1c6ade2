"""`gigarouter admin accounts`."""

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import Account, credits_of, list_accounts
from billing.money import to_usd
from gigarouter.commands.admin.output import AsJson, Row, instant, show_list, show_one
from gigarouter.commands.admin.session import account_of, read, write
from router.admin.accounts import open_account, rename_account, set_account_status
from router.changes.transaction import UnitOfWork
from router.identity.key_commands import list_keys
from router.identity.members import list_members
from store.ids import AccountId, wire

app = typer.Typer(no_args_is_help=True)


@app.command("create")
def create(name: str, as_json: AsJson = False) -> None:
    """Open an account, without credit and without keys."""
    show_one(_row(write(lambda work: open_account(work, name))), as_json=as_json)


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """All accounts with what is left of their credit."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        credit = await credits_of(connection)
        return [{**_row(a), "credit_usd": to_usd(credit.get(a.id, 0))} for a in await list_accounts(connection)]

    show_list(read(ask), as_json=as_json)


@app.command("show")
def show(account: str, as_json: AsJson = False) -> None:
    """One account, by id or name."""

    async def ask(connection: AsyncConnection) -> Row:
        found = await account_of(connection, account)
        keys = await list_keys(connection, found.id)
        return {
            **_row(found),
            "credit_usd": to_usd((await credits_of(connection))[found.id]),
            "keys": len([key for key in keys if key.revoked_at is None]),
            "members": [member.email for member in await list_members(connection, found.id)],
        }

    show_one(read(ask), as_json=as_json)


@app.command("rename")
def rename(account: str, name: str, as_json: AsJson = False) -> None:
    """Give an account another name."""

    async def change(work: UnitOfWork) -> Account:
        return await rename_account(work, (await account_of(work.connection, account)).id, name)

    show_one(_row(write(change)), as_json=as_json)


@app.command("suspend")
def suspend(account: str, as_json: AsJson = False) -> None:
    """Stop all keys of an account; credit and usage stay."""

    async def change(work: UnitOfWork) -> Account:
        return await set_account_status(work, (await account_of(work.connection, account)).id, "suspended")

    show_one(_row(write(change)), as_json=as_json)


@app.command("resume")
def resume(account: str, as_json: AsJson = False) -> None:
    """Let a suspended account's keys work again."""

    async def change(work: UnitOfWork) -> Account:
        return await set_account_status(work, (await account_of(work.connection, account)).id, "active")

    show_one(_row(write(change)), as_json=as_json)


def _row(account: Account) -> Row:
    return {
        "id": wire(AccountId, account.id),
        "name": account.name,
        "status": account.status,
        "created_at": instant(account.created_at),
    }
