"""``/admin/v1/accounts/{id}/grants``: credit that an account is given. One source is granted once."""

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import get_account
from billing.credits import Grant, GrantKind, list_grants
from billing.money import to_usd
from router.admin.credit import give_credit
from router.api.admin.accounts import PATH, account_in
from router.api.admin.mutation import Made, change
from router.api.admin.operation import lists, makes, shows
from router.api.admin.parsing import Instant, body_of, id_of, query_of, read, rfc3339, usd_of, utc
from router.api.admin.responses import Resource, listed, one, page, slice_of
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest, NotFound
from store.ids import AccountId, GrantId, wire

operations = APIRouter()
TAG = "Accounts"


class GrantOut(Resource, frozen=True):
    """An amount of credit and what is left of it."""

    volatile = frozenset({"remaining_usd"})

    id: str
    account: str
    kind: str
    amount_usd: str
    remaining_usd: str
    source: str
    granted_at: str | None
    expires_at: str | None
    currency: str = "USD"
    object: str = "grant"


class GrantCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``source`` names the fact behind it, such as an invoice; the same one is granted once."""

    amount_usd: str
    source: str
    kind: GrantKind = GrantKind.PROMOTIONAL
    expires_at: Instant | None = None
    note: str = ""


@operations.get(f"{PATH}/{{account_id}}/grants", **lists("list_grants", "List grants", TAG, GrantOut))
async def list_(request: Request, account_id: str) -> Response:
    """An account's grants, the oldest first."""
    known, part = account_in(account_id), slice_of(query_of(request, "limit", "cursor"))

    async def ask(connection: AsyncConnection) -> list[Grant]:
        if await get_account(connection, known) is None:
            raise NotFound(f"There is no account {wire(AccountId, known)}.", param="account")
        return await list_grants(connection, known)

    return page(request, listed(await read(request, ask), part, _key), part, _key, _out)


@operations.get(
    f"{PATH}/{{account_id}}/grants/{{grant_id}}", **shows("retrieve_grant", "Retrieve a grant", TAG, GrantOut)
)
async def retrieve(request: Request, account_id: str, grant_id: str) -> Response:
    """One grant of an account."""
    query_of(request)
    known, wanted = account_in(account_id), id_of(GrantId, grant_id, "grant")
    found = await read(request, lambda connection: list_grants(connection, known))
    given = next((grant for grant in found if grant.id == wanted), None)
    if given is None:
        raise NotFound(f"{wire(AccountId, known)} has no grant {wire(GrantId, wanted)}.", param="grant")
    return one(_out(given))


@operations.post(f"{PATH}/{{account_id}}/grants", **makes("create_grant", "Give credit", TAG, GrantOut, GrantCreate))
async def create(request: Request, account_id: str) -> Response:
    """Give an account credit."""
    known, body = account_in(account_id), body_of(request, GrantCreate)
    amount = usd_of(body.amount_usd, "amount_usd")
    if not 1 <= len(body.source.strip()) <= 200:
        raise InvalidRequest("'source' has 1 to 200 characters.", param="source")

    async def command(work: UnitOfWork) -> Made:
        until = utc(body.expires_at)
        given = await give_credit(work, known, amount, body.kind, source=body.source, expires_at=until, note=body.note)
        return Made(_out(given), 201, f"{PATH}/{wire(AccountId, known)}/grants/{wire(GrantId, given.id)}")

    return await change(request, command)


def _key(grant: Grant) -> str:
    return grant.id.hex


def _out(grant: Grant) -> GrantOut:
    return GrantOut(
        id=wire(GrantId, grant.id),
        account=wire(AccountId, grant.account_id),
        kind=grant.kind.value,
        amount_usd=to_usd(grant.amount),
        remaining_usd=to_usd(grant.remaining),
        source=grant.source_ref,
        granted_at=rfc3339(grant.granted_at),
        expires_at=rfc3339(grant.expires_at),
    )
