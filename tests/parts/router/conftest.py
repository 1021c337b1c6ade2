"""A desk from which endpoints are registered, tested and asked again, on a database of the test's own."""

from collections.abc import AsyncIterator

import pytest

from tests.builders.spaces import Desk


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    desk = Desk(database_url)
    yield desk
    await desk.close()
