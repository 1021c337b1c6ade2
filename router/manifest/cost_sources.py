"""Finds the source of an endpoint's cost that an import set, for as long as the cost is still the imported one."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from router.manifest.current_state import endpoint_subject
from router.manifest.values import Kind
from router.tables import CatalogueFileRow
from router.values import Endpoint
from store.ids import EndpointId


async def cost_sources(connection: AsyncConnection, endpoints: Iterable[Endpoint]) -> dict[EndpointId, str]:
    """The source of each endpoint's imported cost; an endpoint whose cost was changed since is left out."""
    subjects = {endpoint_subject(endpoint): endpoint for endpoint in endpoints}
    origin = CatalogueFileRow.applied["origin"].astext
    cost = CatalogueFileRow.applied["fields"]["cost_usd_per_mtok"].astext
    imported = select(CatalogueFileRow.subject, origin, cost).where(
        CatalogueFileRow.kind == Kind.ENDPOINT.value, CatalogueFileRow.subject.in_(subjects), origin != ""
    )
    return {
        endpoint.id: source
        for subject, source, imported_cost in await connection.execute(imported)
        if to_usd((endpoint := subjects[subject]).cost_nano_per_mtok) == imported_cost
    }
