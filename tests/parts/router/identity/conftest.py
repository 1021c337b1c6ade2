"""A door at which people sign in."""

from collections.abc import AsyncIterator

import pytest

from tests.builders.people import Door


@pytest.fixture
async def door(database_url: str) -> AsyncIterator[Door]:
    door = Door(database_url)
    yield door
    await door.db.close()
