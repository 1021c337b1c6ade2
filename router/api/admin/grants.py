"""``/admin/v1/accounts/{id}/grants``: credit that an account is given. One source is granted once."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.credits import Grant, GrantKind, list_grants
from router.admin.credit import give_credit
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef, GrantIdText, Instant, Usd, UsdAboveZero, text_of
from router.api.forms import Body, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.second_person import MoneyKind
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import GrantId, wire

operations = Operations("grants", f"{V1}/accounts/{{account_id}}/grants", tag="Accounts")


class GrantOut(Resource):
    """An amount of credit and what is left of it."""

    volatile: ClassVar[frozenset[str]] = frozenset({"remaining_usd"})
    columns: ClassVar[tuple[str, ...]] = (
        "id",
        "kind",
        "amount_usd",
        "remaining_usd",
        "source",
        "granted_at",
        "expires_at",
    )

    id: GrantIdText
    account: AccountIdText
    kind: GrantKind
    amount_usd: Usd
    remaining_usd: Usd
    source: str
    granted_at: Instant
    expires_at: Instant | None
    currency: Literal["USD"] = "USD"
    object: Literal["grant"] = "grant"


class GrantCreate(Body):
    """Credit for an account."""

    amount_usd: UsdAboveZero = Field(description="How much.")
    source: Annotated[str, text_of(200)] = Field(
        description="The fact behind it, such as an invoice, which the customer sees; the same one is granted once."
    )
    kind: GrantKind = Field(GrantKind.PROMOTIONAL, description="Where it is from; promotional credit is spent first.")
    expires_at: Instant | None = Field(None, description="When what is left of it ends; null: never.")
    note: str = Field("", max_length=2000, description="For whoever reads the audit log.")


@operations.get("", verb="list", summary="List grants", roles=ALL)
async def list_(admin: Read, account_id: AccountRef, query: Annotated[PageQuery, Query()]) -> Page[GrantOut]:
    """An account's grants, the oldest first."""

    async def ask(connection: AsyncConnection) -> list[GrantOut]:
        account = await account_of(connection, account_id)
        return [_out(grant) for grant in query.cut(await list_grants(connection, account.id), _key)]

    return admin.page(query, await admin.read(ask), _key)


@operations.get("/{grant_id}", verb="show", summary="Retrieve a grant", roles=ALL)
async def retrieve(admin: Read, account_id: AccountRef, grant_id: GrantIdText) -> GrantOut:
    """One grant of an account."""

    async def ask(connection: AsyncConnection) -> GrantOut:
        account = await account_of(connection, account_id)
        for grant in await list_grants(connection, account.id):
            if grant.id == grant_id:
                return _out(grant)
        raise NotFound(f"{account.name} has no grant {wire(GrantId, grant_id)}.", param="grant")

    return await admin.read(ask)


@operations.post("", verb="create", summary="Give credit", roles=MONEY, status=201)
async def create(admin: Write, account_id: AccountRef, body: GrantCreate) -> GrantOut:
    """Give an account credit."""

    async def command(work: UnitOfWork) -> GrantOut:
        account = await account_of(work.connection, account_id)
        given = await give_credit(
            work,
            account.id,
            body.amount_usd,
            body.kind,
            source=body.source,
            expires_at=body.expires_at,
            note=body.note,
        )
        await admin.require_second_person(work, MoneyKind.GRANT, account.id, given.amount)
        return _out(given)

    return await admin.change(command)


def _key(grant: Grant | GrantOut) -> str:
    return grant.id.hex


def _out(grant: Grant) -> GrantOut:
    return answer_of(
        GrantOut,
        grant,
        account=grant.account_id,
        amount_usd=grant.amount,
        remaining_usd=grant.remaining,
        source=grant.source_ref,
    )
