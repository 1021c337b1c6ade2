"""``/admin/v1/accounts``: who pays. Suspended, none of an account's keys works."""

from typing import Literal

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import UNSET, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import Account, credits_of, get_account, list_accounts
from billing.money import to_usd
from router.admin.accounts import open_account, rename_account, require_account, set_account_status
from router.api.admin.bodies import Nothing
from router.api.admin.mutation import Current, Made, change
from router.api.admin.operation import acts, edits, lists, makes, shows
from router.api.admin.parsing import V1, body_of, given_id, given_in, id_of, query_of, read, rfc3339
from router.api.admin.responses import Resource, one, page, slice_of
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest, NotFound
from store.ids import AccountId, wire

operations = APIRouter()
PATH = f"{V1}/accounts"
TAG = "Accounts"


class AccountOut(Resource, frozen=True):
    """An account. ``credit_usd`` is what is left of its grants, credit held by calls in flight not counted."""

    volatile = frozenset({"credit_usd"})

    id: str
    name: str
    status: str
    credit_usd: str
    created_at: str | None
    currency: str = "USD"
    object: str = "account"


class AccountCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new account, without credit and without keys."""

    name: str


class AccountEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is given is changed."""

    name: str | UnsetType = UNSET


@operations.get(PATH, **lists("list_accounts", "List accounts", TAG, AccountOut))
async def list_(request: Request) -> Response:
    """All accounts, the oldest first."""
    part = slice_of(query_of(request, "limit", "cursor"))
    after = None if part.after is None else AccountId(given_id(AccountId, part.after, "cursor"))

    async def ask(connection: AsyncConnection) -> list[AccountOut]:
        found = await list_accounts(connection, after=after, limit=part.limit + 1)
        credit = await credits_of(connection, [account.id for account in found])
        return [_out(account, credit.get(account.id, 0)) for account in found]

    return page(request, await read(request, ask), part, lambda row: row.id, lambda row: row)


@operations.post(PATH, **makes("create_account", "Open an account", TAG, AccountOut, AccountCreate))
async def create(request: Request) -> Response:
    """Open an account."""
    body = body_of(request, AccountCreate)

    async def command(work: UnitOfWork) -> Made:
        account = await open_account(work, body.name)
        return Made(_out(account, 0), 201, f"{PATH}/{wire(AccountId, account.id)}")

    return await change(request, command)


@operations.get(f"{PATH}/{{account_id}}", **shows("admin_retrieve_account", "Retrieve an account", TAG, AccountOut))
async def retrieve(request: Request, account_id: str) -> Response:
    """One account."""
    query_of(request)
    known = account_in(account_id)

    async def ask(connection: AsyncConnection) -> AccountOut:
        account = await get_account(connection, known)
        if account is None:
            raise NotFound(f"There is no account {wire(AccountId, known)}.", param="account")
        return await _shown(connection, account)

    return one(await read(request, ask))


@operations.patch(f"{PATH}/{{account_id}}", **edits("edit_account", "Rename an account", TAG, AccountOut, AccountEdit))
async def edit(request: Request, account_id: str) -> Response:
    """Change what is given."""
    known, given = account_in(account_id), given_in(body_of(request, AccountEdit))
    if "name" not in given:
        raise InvalidRequest("Give what is to be changed: 'name'.", param="name")

    async def command(work: UnitOfWork) -> Made:
        return Made(await _shown(work.connection, await rename_account(work, known, given["name"])))

    return await change(request, command, current=_current(known), needs_match=True)


def _sets(action: str, to: Literal["active", "suspended"], summary: str, told: str) -> None:
    async def move(request: Request, account_id: str) -> Response:
        known = account_in(account_id)
        body_of(request, Nothing)

        async def command(work: UnitOfWork) -> Made:
            return Made(await _shown(work.connection, await set_account_status(work, known, to)))

        return await change(request, command, current=_current(known))

    move.__doc__ = told
    said = acts(f"{action}_account", summary, TAG, AccountOut, Nothing)
    operations.add_api_route(f"{PATH}/{{account_id}}/{action}", move, methods=["POST"], **said)


_sets("suspend", "suspended", "Suspend an account", "Its keys stop within a second; credit and usage stay.")
_sets("resume", "active", "Resume an account", "Its keys work again.")


def account_in(text: str) -> AccountId:
    """The id in a path. Raises ``NotFound``."""
    return AccountId(id_of(AccountId, text, "account"))


def _current(known: AccountId) -> Current:
    async def current(work: UnitOfWork) -> AccountOut:
        return _out(await require_account(work, known, locked=True), 0)

    return current


async def _shown(connection: AsyncConnection, account: Account) -> AccountOut:
    return _out(account, (await credits_of(connection, [account.id])).get(account.id, 0))


def _out(account: Account, credit: int) -> AccountOut:
    return AccountOut(
        wire(AccountId, account.id), account.name, account.status, to_usd(credit), rfc3339(account.created_at)
    )
