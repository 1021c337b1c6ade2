"""A database that only reads: what its sessions may, what they send, and what they outlive."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from store.clock import Clock
from store.embedded import Embedded
from store.postgres import APP_ROLE, BEGUN_FOR_S, Database

pytestmark = pytest.mark.anyio

# `now()` is when a transaction began.
_SESSION = text("SELECT current_user, pg_backend_pid() AS pid, now() AS begun")


class Machine:
    """A machine whose monotonic clock is set by hand."""

    elapsed = 1_000.0


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
async def reads(module_database_url: str, machine: Machine) -> AsyncIterator[Database]:
    clock = Clock(elapsed=lambda: machine.elapsed)
    db = Database(module_database_url, read_only=True, statement_s=5, clock=clock)
    yield db
    await db.close()


async def session(reads: Database) -> Any:
    async with reads.transaction() as connection:
        return (await connection.execute(_SESSION)).one()


async def test_each_statement_stands_alone_and_writes_nothing(reads: Database) -> None:
    async with reads.transaction() as connection:
        first, second = [(await connection.execute(_SESSION)).one() for _ in range(2)]
        assert (second.current_user, second.pid) == (APP_ROLE, first.pid)
        assert second.begun > first.begun
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await connection.execute(text("DELETE FROM accounts"))
        # A transaction would be over by that.
        assert (await connection.execute(_SESSION)).one().pid == first.pid


async def test_a_snapshot_is_one_instant(reads: Database) -> None:
    async with reads.transaction(snapshot=True) as connection:
        first, second = [(await connection.execute(_SESSION)).one() for _ in range(2)]
        assert first.begun == second.begun
        assert await connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    async with reads.transaction() as connection:
        assert await connection.scalar(text("SHOW transaction_isolation")) == "read committed"


async def test_a_session_takes_its_role_once_a_second(reads: Database, machine: Machine) -> None:
    sent: list[str] = []
    event.listen(reads.engine.sync_engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    for pause_s, statements in ((0, 2), (0, 1), (BEGUN_FOR_S - 0.01, 1), (BEGUN_FOR_S, 2)):
        machine.elapsed += pause_s
        sent.clear()
        await session(reads)
        assert len(sent) == statements, (pause_s, sent)


async def test_a_session_that_was_lost_meanwhile_is_replaced(
    servers: Embedded, reads: Database, machine: Machine
) -> None:
    before = await session(reads)
    servers.postgres.query(f"SELECT pg_terminate_backend({before.pid}, 10000)")
    machine.elapsed += BEGUN_FOR_S
    after = await session(reads)
    assert (after.current_user, after.pid != before.pid) == (APP_ROLE, True)
    async with reads.transaction(snapshot=True) as connection:
        assert (await connection.execute(_SESSION)).one().pid == after.pid
