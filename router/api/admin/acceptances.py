"""``/admin/v1/acceptances``: accounts' yes to license texts, by version."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import record
from catalog.record import Acceptance
from router.admin.licenses import accept_license
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AcceptanceIdText, AccountIdText, AccountRef, Instant, text_of
from router.api.forms import Body, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import AcceptanceId, wire

operations = Operations("acceptances", f"{V1}/acceptances", tag="Licenses")


class AcceptanceOut(Resource):
    """A yes to a text as it was then."""

    columns: ClassVar[tuple[str, ...]] = ("id", "account", "text", "accepted_by", "accepted_at")

    id: AcceptanceIdText
    account: AccountIdText
    text: str = Field(description="The license and the version in one.")
    license: str
    text_version: str
    accepted_by: str
    accepted_at: Instant
    object: Literal["acceptance"] = "acceptance"


class AcceptanceCreate(Body):
    """An account's yes."""

    account: AccountRef = Field(description="Whose it is, by id or name.")
    license: str = Field(description="The license whose text, as it is now, is accepted.")
    accepted_by: Annotated[str, text_of(200)] = Field(
        description="Who said yes for the account, such as an e-mail address."
    )


class AcceptanceQuery(PageQuery):
    """Which acceptances."""

    account: AccountRef | None = Field(None, description="Those of this account, by id or name.")


@operations.get("", verb="list", summary="List acceptances", roles=ALL)
async def list_(admin: Read, query: Annotated[AcceptanceQuery, Query()]) -> Page[AcceptanceOut]:
    """The license texts that accounts accepted, the oldest first; those of one account."""
    known = query.after_id(AcceptanceId)
    after = None if known is None else AcceptanceId(known)

    async def ask(connection: AsyncConnection) -> list[AcceptanceOut]:
        account = None if query.account is None else (await account_of(connection, query.account)).id
        found = await record.acceptances(connection, account_id=account, after=after, limit=query.limit + 1)
        return [_out(row) for row in found]

    return admin.page(query, await admin.read(ask), lambda row: wire(AcceptanceId, row.id))


@operations.get("/{acceptance_id}", verb="show", summary="Retrieve one", roles=ALL)
async def retrieve(admin: Read, acceptance_id: AcceptanceIdText) -> AcceptanceOut:
    """One acceptance."""

    async def ask(connection: AsyncConnection) -> AcceptanceOut:
        found = await record.find_acceptance(connection, acceptance_id)
        if found is None:
            raise NotFound(f"There is no acceptance {wire(AcceptanceId, acceptance_id)}.", param="acceptance")
        return _out(found)

    return await admin.read(ask)


@operations.post("", verb="create", summary="Record an acceptance", roles=OPS, status=201)
async def create(admin: Write, body: AcceptanceCreate) -> AcceptanceOut:
    """Record an account's yes to a license text as it is now."""

    async def command(work: UnitOfWork) -> AcceptanceOut:
        account = await account_of(work.connection, body.account)
        return _out(await accept_license(work, account.id, body.license, accepted_by=body.accepted_by))

    return await admin.change(command)


def _out(row: Acceptance) -> AcceptanceOut:
    return answer_of(AcceptanceOut, row, account=row.account_id)
