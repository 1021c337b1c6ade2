"""An operator's lab in which endpoints are registered and verified, on a database of the test's own."""

from collections.abc import AsyncIterator

import pytest

from store.postgres import Database
from tests.builders.spaces import SpaceLab


@pytest.fixture
async def lab(database_url: str) -> AsyncIterator[SpaceLab]:
    lab = SpaceLab(database_url)
    yield lab
    await lab.close()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """An empty database, used as the product uses it."""
    database = Database(database_url)
    yield database
    await database.close()
