"""Names how a test of the providers runs a coroutine (the fixture ``run`` gives uvloop's way and the library's), and
waits for what other tasks bring about.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def wait_until(holds: Callable[[], bool], within_s: float = 30) -> None:
    """Wait until it holds, on a busy machine, too."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not holds():
        assert loop.time() < deadline, "it does not come to hold"
        await asyncio.sleep(0.005)
