"""Connects to Postgres: one engine per process, one transaction per unit of work, raw connections for the hot path.

This is the only importer of the driver on that path. Every session takes the role ``gigarouter_app`` where it exists
and may be taken, so that the ledger's append-only grants bind the product itself.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from asyncpg.exceptions._base import DataError as UnsendableData
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from store.clock import Clock

APP_ROLE = "gigarouter_app"

# A process that freezes, or is cut off, in the middle of a transaction or of an answer holds its locks no longer.
SILENCE_MAX_S = 10

# What a lost or refused connection looks like, in one name for those who retry.
CONNECTION_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    OSError,
    TimeoutError,
)

# The same through SQLAlchemy, for those who only want to say "not now".
STORE_FAULTS = (SQLAlchemyError, *CONNECTION_LOST)

# A transaction that may simply be run again.
RUN_AGAIN = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

# What is wrong with the rows themselves, or more than one statement may have: another time it would fail as well.
WRONG_DATA = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.PLPGSQLError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.CardinalityViolationError,
    UnsendableData,
)

# Everything else that Postgres may answer is its own state: full, read-only in a failover, out of connections, locked.
POSTGRES_FAULTS = (asyncpg.PostgresError, *CONNECTION_LOST)

# Classes of SQLSTATE that say that Postgres cannot do it now: connections, resources, an operator's hand or a deadline.
_AWAY = ("08", "53", "57")

# For so long a connection that only reads is taken to be there, and Postgres' time to be known.
BEGUN_FOR_S = 1.0
_BEGUN = "begun"

Connection: TypeAlias = Any  # asyncpg.Connection; the package has no types

# The role, what bounds a silence, and Postgres' time.
_BEGIN = f"""
SELECT set_config('idle_in_transaction_session_timeout', '{SILENCE_MAX_S}s', false),
  set_config('tcp_user_timeout', '{SILENCE_MAX_S}s', false),
  (SELECT set_config('role', rolname, false) FROM pg_roles
    WHERE rolname = '{APP_ROLE}' AND pg_has_role(oid, 'MEMBER')),
  clock_timestamp()
"""  # noqa: S608 - constants


def driver_url(url: str) -> str:
    """The URL that SQLAlchemy wants for asyncpg, from ``postgresql://…`` as users write it."""
    parts = urlsplit(url)
    return urlunsplit(("postgresql+asyncpg", parts.netloc, parts.path, urlencode(parse_qsl(parts.query)), ""))


async def now_of(connection: AsyncConnection) -> datetime:
    """Postgres' time, for whoever has a connection alone."""
    postgres_at: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return postgres_at


def is_away(fault: BaseException) -> bool:
    """Whether a fault says that Postgres cannot answer now, and not that a statement was wrong."""
    cause: Any = getattr(fault, "orig", None) or fault
    state = getattr(cause, "sqlstate", None) or ""
    return isinstance(cause, CONNECTION_LOST) or isinstance(fault, CONNECTION_LOST) or state.startswith(_AWAY)


def _session(*, read_only: bool, statement_s: float | None) -> dict[str, str]:
    """The settings of a session of the pool."""
    settings = {"application_name": "gigarouter"}
    if read_only:
        settings["default_transaction_read_only"] = "on"
    if statement_s is not None:
        settings["statement_timeout"] = f"{round(statement_s * 1000)}ms"
    return settings


class Database:
    """One Postgres database. ``url``: ``postgresql://user:password@host:port/name`` or ``…/name?host=/socket``.

    ``clock`` tells its time: each transaction looks at it in the round trip that takes the role. ``read_only``: its
    transactions write nothing, Postgres says so, and none of their statements runs longer than ``statement_s``. Each
    of their statements stands alone, as it does within READ COMMITTED, so that neither BEGIN nor COMMIT is sent; and a
    connection that was used a moment ago has its role. Of a page's round trips these were two thirds.
    """

    def __init__(
        self,
        url: str,
        *,
        as_owner: bool = False,
        pool_size: int = 5,
        clock: Clock | None = None,
        read_only: bool = False,
        statement_s: float | None = None,
    ) -> None:
        self.url = url
        self.clock = clock or Clock()
        self.statement_s = statement_s
        self._as_owner = as_owner
        self._read_only = read_only
        self.engine: AsyncEngine = create_async_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            # What only reads finds a connection that was lost by the statement that takes the role.
            pool_pre_ping=not read_only,
            # The connection that was used last has its statements prepared.
            pool_use_lifo=read_only,
            **({"isolation_level": "AUTOCOMMIT"} if read_only else {}),
            connect_args={"timeout": 5, "server_settings": _session(read_only=read_only, statement_s=statement_s)},
        )

    @asynccontextmanager
    async def transaction(self, *, snapshot: bool = False) -> AsyncIterator[AsyncConnection]:
        """Run one unit of work: committed at the end, rolled back on any exception.

        ``snapshot``: all reads are of one instant, and a change to what others have changed since is refused (40001).
        """
        if self._read_only:
            async with self.engine.connect() as connection:
                await self._begin_reading(connection)
                if snapshot:
                    connection = await connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
                yield connection
            return
        async with self.engine.begin() as connection:
            if snapshot:
                await connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            if not self._as_owner:
                await self._begin(connection)
            yield connection

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[AsyncConnection]:
        """Run statements that each commit by themselves: a process that freezes between two of them holds no lock."""
        async with self.engine.connect() as opened:
            connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
            if not self._as_owner:
                await self._begin(connection)
            yield connection

    async def observe_time(self) -> None:
        """Let :attr:`clock` know Postgres' time before any other transaction does. Raises :data:`STORE_FAULTS`."""
        async with self.statements():
            pass

    async def _begin_reading(self, connection: AsyncConnection) -> None:
        """Take the role, unless this connection was used a moment ago; on another one where it was lost since."""
        info = (await connection.get_raw_connection()).info
        if self.clock.elapsed() - info.get(_BEGUN, -math.inf) < BEGUN_FOR_S:
            return
        try:
            await self._begin(connection)
        except DBAPIError as fault:
            if not fault.connection_invalidated or _BEGUN not in info:
                raise
            await connection.rollback()
            await self._begin(connection)
        # It ends what SQLAlchemy takes for a transaction, and sends nothing.
        await connection.rollback()
        (await connection.get_raw_connection()).info[_BEGUN] = self.clock.elapsed()

    async def _begin(self, connection: AsyncConnection) -> None:
        sent = self.clock.elapsed()
        *_, postgres_at = (await connection.exec_driver_sql(_BEGIN)).one()
        self.clock.observe(postgres_at, sent, self.clock.elapsed())

    async def connect(self, *, command_timeout_s: float = 10.0) -> Connection:
        """Open a raw asyncpg connection outside the pool; the caller closes it. Raises :data:`CONNECTION_LOST`."""
        connection = await asyncpg.connect(
            self.url, timeout=5, command_timeout=command_timeout_s, server_settings={"application_name": "gigarouter"}
        )
        if not self._as_owner:
            await connection.execute(_BEGIN)
        return connection

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()
