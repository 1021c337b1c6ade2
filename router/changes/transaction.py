"""Runs one administrative command in a transaction, with its audit rows, retries after deadlocks, and dry runs.

A command is a function of a :class:`UnitOfWork`. It checks, writes, and records what it changed; :func:`transact`
commits both or neither, and runs the command again where Postgres asks for it. Charging has its own path: it is not
administration.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Actor, Change, record_changes
from router.errors import StoreUnavailable
from store.postgres import Database

T = TypeVar("T")

ATTEMPTS = 5
# SQLSTATE: serialization_failure, deadlock_detected, lock_not_available.
RUN_AGAIN = frozenset({"40001", "40P01", "55P03"})


class UnitOfWork:
    """Holds the open transaction of one command, who runs it, and the changes that it has recorded so far.

    A command that finds out who acts, as signing in does, sets ``actor``.
    """

    def __init__(self, connection: AsyncConnection, actor: Actor, now: datetime) -> None:
        self.connection = connection
        self.actor = actor
        self.now = now
        self.changes: list[Change] = []

    def record_change(self, change: Change) -> None:
        """Record a change, which becomes an audit row of this transaction."""
        self.changes.append(change)


class _RollBack(Exception):
    """Rolls back what a dry run has written."""


async def transact(
    db: Database, actor: Actor, command: Callable[[UnitOfWork], Awaitable[T]], *, dry_run: bool = False
) -> T:
    """Run one command, commit it with its audit rows, and return what it returns; a dry run is rolled back.

    Raises what the command raises, and ``StoreUnavailable`` where Postgres went away: whether it committed is then
    unknown, and every command may be run again.
    """
    for attempt in range(ATTEMPTS):
        try:
            return await _run(db, actor, command, dry_run=dry_run)
        except DBAPIError as error:
            if _sqlstate(error) in RUN_AGAIN and attempt + 1 < ATTEMPTS:
                await asyncio.sleep(0.02 * 2**attempt)
                continue
            if error.connection_invalidated:
                raise store_unavailable(error) from error
            raise
        except (OSError, TimeoutError) as error:
            raise store_unavailable(error) from error
    raise AssertionError("the last attempt returns or raises; this is a bug")


async def _run(db: Database, actor: Actor, command: Callable[[UnitOfWork], Awaitable[T]], *, dry_run: bool) -> T:
    results: list[T] = []
    try:
        async with db.transaction() as connection:
            work = UnitOfWork(connection, actor, db.clock.now())
            results.append(await command(work))
            assert work.changes, "a command says what it changed; this is a bug"
            await record_changes(connection, work.actor, work.changes)
            if dry_run:
                raise _RollBack
    except _RollBack:
        pass
    return results[0]


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def violated_constraint(error: IntegrityError) -> str | None:
    """Return the name of the constraint that a statement violated; None where a trigger refused it."""
    return getattr(error.orig.__cause__, "constraint_name", None) if error.orig is not None else None


def store_unavailable(error: BaseException) -> StoreUnavailable:
    """Build the error of a command whose Postgres went away."""
    return StoreUnavailable("Postgres cannot be reached. Try again shortly.", detail=repr(error), retry_after_s=2.0)
