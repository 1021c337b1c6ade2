"""Wakes whoever waits for a row of a table: the notifications that a process hears are passed on here."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable


class Watch:
    """Waits for changes of one table, in one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    def notify(self, row: str) -> None:
        """Wake who waits for ``row`` and who waits for any; an empty one means any row: all are woken."""
        rows = list(self._waiting) if not row else [row, ""]
        for name in rows:
            for event in self._waiting.get(name, ()):
                event.set()

    async def wait(
        self, timeout_s: float, row: str = "", *, unless: Callable[[], Awaitable[bool]] | None = None
    ) -> bool:
        """Wait until ``row``, or any, changes; False where nothing did in time.

        ``unless`` is asked once the wait has begun: where it is true, the change was before, and nothing is waited for.
        """
        event = asyncio.Event()
        self._waiting[row].add(event)
        try:
            if unless is not None and await unless():
                return True
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting[row].discard(event)
            if not self._waiting[row]:
                del self._waiting[row]
        return True
