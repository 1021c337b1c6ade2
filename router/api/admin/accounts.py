"""``/admin/v1/accounts``: who pays. Suspended, none of an account's keys works."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import Account, credits_of, list_accounts
from billing.debt import debts_of, read_balance
from billing.money import NanoUSD
from router.admin.accounts import open_account, rename_account, require_account, set_account_status
from router.api.admin.references import account_of
from router.api.admin.request import Command, Edit, Read, Write
from router.api.fields import AccountIdText, AccountRef, Instant, Usd, text_of
from router.api.forms import Body, Page, PageQuery, Patch, Reason, Resource, answer_of
from router.api.operation import ALL, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.identity.account_facts import read_account_facts
from store.ids import AccountId, wire

operations = Operations("accounts", f"{V1}/accounts")
ONE = "/{account_id}"


class AccountOut(Resource):
    """An account."""

    volatile: ClassVar[frozenset[str]] = frozenset({"credit_usd", "debt_usd", "keys", "members"})
    columns: ClassVar[tuple[str, ...]] = ("id", "name", "status", "credit_usd", "debt_usd", "created_at")

    id: AccountIdText
    name: str
    status: str
    credit_usd: Usd = Field(description="What is left of its grants, credit held by calls in flight not counted.")
    debt_usd: Usd = Field(description="What it owes beyond its credit; new credit pays it first.")
    keys: int | None = Field(None, description="How many keys it has that are not revoked; null in a list.")
    members: tuple[str, ...] | None = Field(None, description="Its people's e-mail addresses; null in a list.")
    created_at: Instant
    currency: Literal["USD"] = "USD"
    object: Literal["account"] = "account"


class AccountCreate(Body):
    """A new account, without credit and without keys."""

    name: Annotated[str, text_of(200)] = Field(description="1 to 200 characters.")


class AccountEdit(AccountCreate, Patch):
    """What is given is changed."""


@operations.get("", verb="list", summary="List accounts", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[AccountOut]:
    """All accounts, the oldest first."""
    known = query.after_id(AccountId)
    after = None if known is None else AccountId(known)

    async def ask(connection: AsyncConnection) -> list[AccountOut]:
        found = await list_accounts(connection, after=after, limit=query.limit + 1)
        ids = [account.id for account in found]
        credit, debt = await credits_of(connection, ids), await debts_of(connection, ids)
        return [
            answer_of(AccountOut, one, credit_usd=credit.get(one.id, NanoUSD(0)), debt_usd=debt.get(one.id, NanoUSD(0)))
            for one in found
        ]

    return admin.page(query, await admin.read(ask), lambda row: wire(AccountId, row.id))


@operations.post("", verb="create", summary="Open an account", roles=ALL, status=201)
async def create(admin: Write, body: AccountCreate) -> AccountOut:
    """Open an account."""

    async def command(work: UnitOfWork) -> AccountOut:
        return await _out(work.connection, await open_account(work, body.name))

    return await admin.change(command)


@operations.get(ONE, verb="show", name="admin_retrieve_account", summary="Retrieve an account", roles=ALL)
async def retrieve(admin: Read, account_id: AccountRef) -> AccountOut:
    """One account, by id or name."""

    async def ask(connection: AsyncConnection) -> AccountOut:
        return await _out(connection, await account_of(connection, account_id))

    return await admin.read(ask)


@operations.patch(ONE, verb="edit", summary="Rename an account", roles=ALL)
async def edit(admin: Edit, account_id: AccountRef, body: AccountEdit) -> AccountOut:
    """Change what is given."""
    if not body.given():
        raise InvalidRequest("Give what is to be changed: 'name'.", param="name")

    async def command(work: UnitOfWork) -> AccountOut:
        known = await account_of(work.connection, account_id)
        return await _out(work.connection, await rename_account(work, known.id, body.name))

    return await _change(admin, account_id, command)


@operations.post(f"{ONE}/suspend", verb="suspend", summary="Suspend an account", roles=ALL)
async def suspend(admin: Write, account_id: AccountRef, body: Reason) -> AccountOut:
    """Its keys stop within a second; credit and usage stay."""
    return await _set_status(admin, account_id, "suspended", body.reason)


@operations.post(f"{ONE}/resume", verb="resume", summary="Resume an account", roles=ALL)
async def resume(admin: Write, account_id: AccountRef, body: Reason) -> AccountOut:
    """Its keys work again."""
    return await _set_status(admin, account_id, "active", body.reason)


async def _set_status(admin: Write, account_id: str, to: Literal["active", "suspended"], reason: str) -> AccountOut:
    async def command(work: UnitOfWork) -> AccountOut:
        known = await account_of(work.connection, account_id)
        return await _out(work.connection, await set_account_status(work, known.id, to, reason))

    return await _change(admin, account_id, command)


async def _change(admin: Write, account_id: str, command: Command[AccountOut]) -> AccountOut:
    async def current(work: UnitOfWork) -> AccountOut:
        known = await account_of(work.connection, account_id)
        return await _out(work.connection, await require_account(work, known.id, locked=True))

    return await admin.change(command, current=current)


async def _out(connection: AsyncConnection, account: Account) -> AccountOut:
    balance, facts = await read_balance(connection, account.id), await read_account_facts(connection, account.id)
    return answer_of(
        AccountOut,
        account,
        credit_usd=balance.credit,
        debt_usd=balance.debt,
        keys=facts.keys,
        members=facts.emails,
    )
