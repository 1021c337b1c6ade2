"""A door at which people sign in."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from router.identity.people import codes, invitations, people
from router.identity.people.mails import Mail, Recipient
from tests.builders.people import Door


@pytest.fixture
async def door(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    door = Door(database_url)

    async def keep(tx: AsyncConnection, mail: Mail, to: Recipient, *, dedupe: str) -> None:
        door.mails.append((to.address, mail))

    for module in (codes, invitations, people):
        monkeypatch.setattr(module, "enqueue", keep)
    yield door
    await door.db.close()
