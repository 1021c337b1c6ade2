"""Stops a coroutine after so many of its awaits, as a process that dies there: what it had committed stays."""

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any


class Dies:
    """Runs a coroutine up to its ``after``-th await; ``awaits`` counts those that it came to."""

    def __init__(self, after: int | None = None) -> None:
        self.after = after
        self.awaits = 0

    async def run(self, work: Coroutine[Any, Any, object]) -> bool:
        """Whether it came to its end."""
        return await _until(self, work)


@coroutine
def _until(death: Dies, work: Coroutine[Any, Any, object]) -> Generator[Any, Any, bool]:
    steps = work.__await__()
    failed: BaseException | None = None
    while True:
        try:
            waits_for = steps.send(None) if failed is None else steps.throw(failed)
        except StopIteration:
            return True
        except asyncio.CancelledError:
            return False
        failed = None
        try:
            yield waits_for
        except BaseException as fault:  # noqa: BLE001 - it is the coroutine's to handle
            failed = fault
        death.awaits += 1
        if death.awaits == death.after:
            failed = asyncio.CancelledError()
