"""How a migration runs: one at a time, under timeouts that keep it from standing in the way of traffic.

A statement that waits 4 s for a lock, or runs 5 s, is given up; the migration has changed nothing then and is run
again. One that needs longer is not a migration but a job (README.md).
"""

import asyncio
import time

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from gigarouter.schema import migration_url

# Any two deploys of the product that share a database meet at this number.
ADVISORY_LOCK = 0x6769_6761_726F_7574
WAIT_FOR_OTHERS_S = 120.0
LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "5s"


def migrate(connection: Connection) -> None:
    """Take the lock, then run each migration in a transaction of its own."""
    _take_turns(connection)
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
    connection.commit()  # the lock and the settings are the session's, and outlive this transaction
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def _take_turns(connection: Connection) -> None:
    """Wait for others without an open transaction: an index that another builds concurrently waits for all of those."""
    until = time.monotonic() + WAIT_FOR_OTHERS_S
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": ADVISORY_LOCK}):
        connection.commit()
        if time.monotonic() > until:
            raise TimeoutError(f"another migration has not ended within {WAIT_FOR_OTHERS_S:.0f} s")
        time.sleep(0.2)


async def connect_and_migrate() -> None:
    """Over asyncpg, the only driver that is installed."""
    engine = create_async_engine(migration_url(context.config), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(connect_and_migrate())
