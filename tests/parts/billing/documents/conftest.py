"""One renderer for all tests of documents: its rules take seconds to compile."""

from collections.abc import AsyncIterator, Iterator

import pytest

from billing.documents.render import Renderer
from store.embedded import Embedded
from tests.builders.billed_month import add_seller, make_month
from tests.builders.billing import Billing, billing


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    renderer = Renderer()
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def b(servers: Embedded, module_database_url: str) -> AsyncIterator[Billing]:
    servers.redis.command("FLUSHALL")
    async with billing(module_database_url, servers.redis_url) as running:
        await make_month(running.db)
        await add_seller(running.db)
        yield running
