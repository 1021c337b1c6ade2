"""``/admin/v1/acceptances``: accounts' yes to license texts, by version."""

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.licenses import accepted_by_account
from router.administer import accept_license
from router.edge.admin.answering import listed, page, slice_of
from router.edge.admin.asking import V1, body_of, given_id, query_of, read
from router.edge.admin.changing import Made, change
from router.edge.admin.telling import lists, makes
from router.errors import InvalidRequest
from router.write import Work
from store.ids import AccountId, wire

operations = APIRouter()
PATH = f"{V1}/acceptances"
TAG = "Licenses"


class AcceptanceOut(msgspec.Struct, frozen=True):
    """A yes to a text as it was then: ``text`` names the license and the version."""

    account: str
    text: str
    object: str = "acceptance"


class AcceptanceCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``accepted_by`` is who said yes for the account, such as an e-mail address."""

    account: str
    license: str
    accepted_by: str


@operations.get(PATH, **lists("list_acceptances", "List acceptances", TAG, AcceptanceOut, "account"))
async def list_(request: Request) -> Response:
    """The license texts that accounts accepted; those of one account."""
    query = query_of(request, "limit", "cursor", "account")
    part = slice_of(query)
    account = AccountId(given_id(AccountId, query["account"], "account")) if "account" in query else None

    async def ask(connection: AsyncConnection) -> list[AcceptanceOut]:
        accepted = await accepted_by_account(connection, account)
        return [AcceptanceOut(wire(AccountId, who), text) for who, texts in accepted.items() for text in texts]

    return page(request, listed(await read(request, ask), part, _key), part, _key, lambda row: row)


@operations.post(PATH, **makes("create_acceptance", "Record an acceptance", TAG, AcceptanceOut, AcceptanceCreate))
async def create(request: Request) -> Response:
    """Record an account's yes to a license text as it is now."""
    body = body_of(request, AcceptanceCreate)
    account = AccountId(given_id(AccountId, body.account, "account"))
    if not 1 <= len(body.accepted_by.strip()) <= 200:
        raise InvalidRequest("'accepted_by' has 1 to 200 characters.", param="accepted_by")

    async def command(work: Work) -> Made:
        text = await accept_license(work, account, body.license, accepted_by=body.accepted_by)
        return Made(AcceptanceOut(wire(AccountId, account), text), 201)

    return await change(request, command)


def _key(row: AcceptanceOut) -> str:
    return f"{row.account} {row.text}"
