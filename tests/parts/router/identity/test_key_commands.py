"""Keys and members belong to an account that exists; which constraint refused a row says what is told of it."""

from collections.abc import AsyncIterator

import pytest

from router.changes.audit import Actor
from router.changes.transaction import transact
from router.errors import Conflict, NotFound
from router.identity.key_commands import create_key
from router.identity.key_views import KeySpec
from router.identity.members import Role, add_member
from store.ids import AccountId, new_id
from store.postgres import Database

pytestmark = pytest.mark.anyio
OPS = Actor("cli:ops")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


async def test_a_key_and_a_member_of_no_account_are_not_found(db: Database) -> None:
    nobody = AccountId(new_id())
    with pytest.raises(NotFound, match="no such account"):
        await transact(db, OPS, lambda work: create_key(work, nobody, KeySpec("first")))
    with pytest.raises(NotFound, match="no such account"):
        await transact(db, OPS, lambda work: add_member(work, nobody, "ada@example.com", Role.OWNER))


async def test_a_person_is_a_member_once(db: Database) -> None:
    await transact(db, OPS, lambda work: add_member(work, None, "ada@example.com", Role.OPS))
    with pytest.raises(Conflict, match="a member already"):
        await transact(db, OPS, lambda work: add_member(work, None, "ada@example.com", Role.OPS))
