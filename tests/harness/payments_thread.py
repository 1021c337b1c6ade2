"""One process's payments on an event loop in a thread of its own, for tests that are not coroutines."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from tests.builders.stripe import Payments, payments_beside
from tests.harness.stripe_server import StripeServer

T = TypeVar("T")
PATIENCE_S = 120


class PaymentsThread:
    """Runs stories one after the other; the process behind them can die and be followed by another."""

    def __init__(self, stripe: StripeServer, database_url: str, redis_url: str) -> None:
        self._stripe, self._urls = stripe, (database_url, redis_url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._begin()

    def run(self, story: Callable[[Payments], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(story(self._payments), self._loop).result(PATIENCE_S)

    def restart(self) -> None:
        """The process dies as if it was killed, and another begins."""
        self._loop.call_soon_threadsafe(self._payments.billing.die)
        self._finish()
        self._begin()

    def close(self) -> None:
        self._finish()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _begin(self) -> None:
        self._over = asyncio.Event()
        started: Future[Payments] = Future()
        self._running = asyncio.run_coroutine_threadsafe(self._live(started), self._loop)
        self._payments = started.result(PATIENCE_S)

    def _finish(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._running.result(PATIENCE_S)

    async def _live(self, started: "Future[Payments]") -> None:
        async with payments_beside(self._stripe, *self._urls) as p:
            started.set_result(p)
            await self._over.wait()
