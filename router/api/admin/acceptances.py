"""``/admin/v1/acceptances``: accounts' yes to license texts, by version."""

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import record
from catalog.record import Acceptance
from router.admin.licenses import accept_license
from router.api.admin.license_records import TAG, words
from router.api.admin.mutation import Made, change
from router.api.admin.operation import lists, makes, shows
from router.api.admin.parsing import V1, body_of, given_id, id_of, query_of, read, rfc3339
from router.api.admin.responses import Resource, one, page, slice_of
from router.api.operation import OperationRoute
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import AcceptanceId, AccountId, wire

operations = APIRouter(route_class=OperationRoute)
PATH = f"{V1}/acceptances"


class AcceptanceOut(Resource, frozen=True):
    """A yes to a text as it was then: ``text`` names the license and the version."""

    id: str
    account: str
    text: str
    license: str
    text_version: str
    accepted_by: str
    accepted_at: str | None
    object: str = "acceptance"


class AcceptanceCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``accepted_by`` is who said yes for the account, such as an e-mail address."""

    account: str
    license: str
    accepted_by: str


@operations.get(PATH, **lists("list_acceptances", "List acceptances", TAG, AcceptanceOut, "account"))
async def list_(request: Request) -> Response:
    """The license texts that accounts accepted, the oldest first; those of one account."""
    query = query_of(request, "limit", "cursor", "account")
    part = slice_of(query)
    account = AccountId(given_id(AccountId, query["account"], "account")) if "account" in query else None
    after = None if part.after is None else AcceptanceId(given_id(AcceptanceId, part.after, "cursor"))

    async def ask(connection: AsyncConnection) -> list[Acceptance]:
        return await record.acceptances(connection, account_id=account, after=after, limit=part.limit + 1)

    return page(request, await read(request, ask), part, lambda row: wire(AcceptanceId, row.id), _out)


@operations.get(f"{PATH}/{{acceptance_id}}", **shows("retrieve_acceptance", "Retrieve one", TAG, AcceptanceOut))
async def retrieve(request: Request, acceptance_id: str) -> Response:
    """One acceptance."""
    query_of(request)
    known = AcceptanceId(id_of(AcceptanceId, acceptance_id, "acceptance"))
    found = await read(request, lambda connection: record.find_acceptance(connection, known))
    if found is None:
        raise NotFound(f"There is no acceptance {wire(AcceptanceId, known)}.", param="acceptance")
    return one(_out(found))


@operations.post(PATH, **makes("create_acceptance", "Record an acceptance", TAG, AcceptanceOut, AcceptanceCreate))
async def create(request: Request) -> Response:
    """Record an account's yes to a license text as it is now."""
    body = body_of(request, AcceptanceCreate)
    account = AccountId(given_id(AccountId, body.account, "account"))
    accepted_by = words(body.accepted_by, "accepted_by", 200)

    async def command(work: UnitOfWork) -> Made:
        shown = _out(await accept_license(work, account, body.license, accepted_by=accepted_by))
        return Made(shown, 201, f"{PATH}/{shown.id}")

    return await change(request, command)


def _out(row: Acceptance) -> AcceptanceOut:
    return AcceptanceOut(
        id=wire(AcceptanceId, row.id),
        account=wire(AccountId, row.account_id),
        text=row.text,
        license=row.license,
        text_version=row.text_version,
        accepted_by=row.accepted_by,
        accepted_at=rfc3339(row.accepted_at),
    )
