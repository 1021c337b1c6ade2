"""Lets an endpoint or a provider have one check at a time, whichever process is asked: its calls cost money."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from router.errors import Conflict, StoreUnavailable
from store.postgres import CONNECTION_LOST, Database


@asynccontextmanager
async def only_check_of(db: Database, subject: str) -> AsyncIterator[None]:
    """Hold the lock of this subject's checks in all processes. Raises ``Conflict``, ``StoreUnavailable``.

    The lock is its own connection's, so it ends with the process; the pool's are not kept while a provider thinks.
    """
    try:
        connection = await db.connect()
    except CONNECTION_LOST as fault:
        raise StoreUnavailable("Postgres cannot be reached. Try again shortly.", detail=repr(fault)) from fault
    key = f"test of {subject}"
    try:
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key):
            raise Conflict(
                f"A test of {subject} is running, and its calls cost money: wait for its outcome.", retry_after_s=5
            )
        yield
    finally:
        try:
            # Closing alone would free it a moment after the next check has tried to take it.
            with suppress(*CONNECTION_LOST):
                await connection.execute("SELECT pg_advisory_unlock_all()")
        finally:
            connection.terminate()
