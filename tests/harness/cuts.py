"""Stops work at its k-th statement to Postgres or request to Stripe, for good: as a process that was killed there.

What is stopped never goes on and cleans nothing up; its connections are closed, so that Postgres rolls back what was
not committed. The rest of the test's process lives, as other processes would.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

import pytest
from asyncpg.connection import Connection
from asyncpg.prepared_stmt import PreparedStatement
from typing_extensions import override

from billing.errors import BillingUnavailable
from billing.stripe.client import StripeClient
from billing.stripe.errors import StripeUnavailable
from router.errors import StoreUnavailable
from store.postgres import STORE_FAULTS

_running: ContextVar["Cut | None"] = ContextVar("cut", default=None)


class Moment(StrEnum):
    """What happens at the step."""

    BEFORE = "killed before it"
    AFTER = "killed after it"
    LOST = "its connection is lost, and the work sees that"


class _Stopped(BaseException):
    """What was stopped tries to go on."""


class Cut:
    """Runs work up to its step number ``at``, from 1; ``steps`` is what it came to."""

    def __init__(self, at: int | None = None, moment: Moment = Moment.BEFORE) -> None:
        self.steps: list[str] = []
        self._at, self._moment = at, moment
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[object] | None = None
        self._open: set[Any] = set()

    @override
    def __repr__(self) -> str:
        last = self.steps[-1] if self.steps else "nothing"
        return f"step {self._at} of {len(self.steps)}, {self._moment}: {last}"

    async def run(self, work: Coroutine[Any, Any, object]) -> bool:
        """Whether the work came to its end: it was neither stopped, nor failed because a connection was lost."""
        token = _running.set(self)
        try:
            self._task = asyncio.create_task(work)
        finally:
            _running.reset(token)
        stopped = asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait({self._task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not self._task.done():
            return False
        fault = self._task.exception()
        if fault is None:
            return True
        if self._moment is Moment.LOST and _is_of_store(fault):
            return False
        raise fault

    async def bury(self) -> None:
        """Take what was stopped out of memory."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.exception()

    async def step(self, name: str, connection: Any, call: Callable[[], Awaitable[Any]]) -> Any:
        """One step, or its end."""
        if self._stopped.is_set():
            raise _Stopped
        self.steps.append(name)
        is_here = len(self.steps) == self._at
        if is_here and self._moment is Moment.BEFORE:
            await self._stop()
        if is_here and self._moment is Moment.LOST:
            if connection is None:
                raise StripeUnavailable("the connection was lost, says the test")
            connection.terminate()
        if connection is not None and name.startswith("BEGIN"):
            self._open.add(connection)
        answer = await call()
        if name.startswith(("COMMIT", "ROLLBACK")):
            self._open.discard(connection)
        if is_here and self._moment is Moment.AFTER:
            await self._stop()
        return answer

    async def _stop(self) -> None:
        for connection in self._open:
            connection.terminate()
        self._stopped.set()
        await asyncio.get_running_loop().create_future()


def _is_of_store(fault: BaseException) -> bool:
    if isinstance(fault, BaseExceptionGroup):
        return all(_is_of_store(one) for one in fault.exceptions)
    return isinstance(fault, (*STORE_FAULTS, BillingUnavailable, StoreUnavailable))


@contextmanager
def counted_steps() -> Iterator[None]:
    """Let every statement and request of work that a :class:`Cut` runs be a step of it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_execute", "copy_from_query", "executemany"):
            _count(patch, Connection, name, lambda connection, args: (connection, str(args[0])))
        _count(patch, Connection, "execute", _simple)
        for name in ("fetch", "fetchval", "fetchrow", "executemany"):
            _count(patch, PreparedStatement, name, lambda prepared, args: (prepared._connection, prepared._query))
        _count(patch, StripeClient, "_answer", lambda client, args: (None, "a request to Stripe"))
        yield


def _simple(connection: Any, arguments: tuple[Any, ...]) -> tuple[Any, str] | None:
    # With arguments it goes through _execute, which counts it.
    return None if len(arguments) > 1 else (connection, str(arguments[0]))


def _count(
    patch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    describe: Callable[[Any, tuple[Any, ...]], tuple[Any, str] | None],
) -> None:
    original = getattr(owner, name)

    async def counted(self: Any, *args: Any, **options: Any) -> Any:
        cut, found = _running.get(), describe(self, args)
        if cut is None or found is None or found[1] == ";":
            return await original(self, *args, **options)
        connection, statement = found
        return await cut.step(" ".join(statement.split())[:80], connection, lambda: original(self, *args, **options))

    patch.setattr(owner, name, counted)
