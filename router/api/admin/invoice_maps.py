"""``/admin/v1/finance/invoice-maps``: how the columns of each provider's invoice are read."""

from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.reconciliation.invoices import StoredMap, find_map, list_maps
from router.admin.provider_invoices import store_map
from router.api.admin.references import provider_of
from router.api.admin.request import Read, Write
from router.api.fields import Instant, ProviderIdText, ProviderRef
from router.api.forms import Answer, Body, Page, PageQuery
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import ProviderId, wire

operations = Operations("invoice-maps", f"{V1}/finance/invoice-maps", tag="Finance")


class InvoiceMapOut(Answer):
    """The newest version of a provider's map."""

    columns: ClassVar[tuple[str, ...]] = ("provider", "provider_name", "version", "created_at", "created_by")

    provider: ProviderIdText
    provider_name: str
    version: int
    map: str = Field(description="TOML, as it was stored.")
    created_at: Instant
    created_by: str


class InvoiceMapForm(Body):
    """A map of columns."""

    provider: ProviderRef = Field(description="Whose invoices it reads.")
    map: str = Field(
        description="A TOML file that says which columns are what, and how the file is written.",
        json_schema_extra={"contentMediaType": "application/toml"},
    )


@operations.get("", verb="list", summary="List maps of invoices", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[InvoiceMapOut]:
    """The newest version of each provider's map."""
    after = query.after_id(ProviderId)

    async def ask(connection: AsyncConnection) -> list[InvoiceMapOut]:
        rows = await list_maps(connection, None if after is None else ProviderId(after), query.limit + 1)
        return [_out(row) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: wire(ProviderId, row.provider))


@operations.get("/{provider_id}", verb="show", summary="Retrieve a map of invoices", roles=ALL)
async def retrieve(admin: Read, provider_id: ProviderRef) -> InvoiceMapOut:
    """The newest version."""

    async def ask(connection: AsyncConnection) -> InvoiceMapOut:
        provider = await provider_of(connection, provider_id)
        found = await find_map(connection, provider.id)
        if found is None:
            raise NotFound(f"{provider.name} has no map: store one with `invoice-maps set`.", param="provider")
        return _out(found)

    return await admin.read(ask)


@operations.post("", verb="set", summary="Store a map of invoices", roles=MONEY)
async def set_(admin: Write, body: InvoiceMapForm) -> InvoiceMapOut:
    """Store the next version; invoices that were imported keep theirs."""

    async def command(work: UnitOfWork) -> InvoiceMapOut:
        provider = await provider_of(work.connection, body.provider)
        return _out(await store_map(work, provider.id, body.map))

    return await admin.change(command)


def _out(stored: StoredMap) -> InvoiceMapOut:
    return InvoiceMapOut(
        provider=stored.provider_id,
        provider_name=stored.provider_name,
        version=stored.version,
        map=stored.map,
        created_at=stored.created_at,
        created_by=stored.created_by,
    )
