"""Where a cost is from that an import brought: what was remembered of the import, while the cost is still that one."""

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
    """Of those whose cost an import brought, its source; one whose cost was changed since is not among them."""
    subjects = {endpoint_subject(endpoint): endpoint for endpoint in endpoints}
    origin = CatalogueFileRow.applied["origin"].astext
    cost = CatalogueFileRow.applied["fields"]["cost_usd_per_mtok"].astext
    imported = select(CatalogueFileRow.subject, origin, cost).where(
        CatalogueFileRow.kind == Kind.ENDPOINT.value, CatalogueFileRow.subject.in_(subjects), origin != ""
    )
    return {
        endpoint.id: source
        for subject, source, brought in await connection.execute(imported)
        if to_usd((endpoint := subjects[subject]).cost_nano_per_mtok) == brought
    }
