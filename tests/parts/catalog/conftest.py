from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from catalog.seed import import_seed
from store.postgres import Database


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database, used as the product uses it: under the role `gigarouter_app`."""
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
async def seeded(database: Database) -> Database:
    async with database.transaction() as db:
        await import_seed(db)
    return database
