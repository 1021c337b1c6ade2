"""The attack on credit by a silent process: its calls are in flight, Redis is wiped, another process spends all."""

import asyncio
from collections.abc import Callable

import msgspec

from tests.harness.raw_http import Reply, request_bytes, send

CALLS, TOKENS, COST_NANO = 20, 10, 10
# While the endpoint still computes, the serve falls silent; it stays so until others count it dead.
ANSWERED_AFTER_S, SILENT_AFTER_S, SILENT_FOR_S = 1.0, 0.4, 5.0


class Attack(msgspec.Struct, frozen=True):
    """Whom it is done to and by what: ``model`` takes token ids and costs a nano-USD for each."""

    key: str
    model: str
    silent_port: int
    other_port: int
    silence: Callable[[], None]
    wake: Callable[[], None]
    wipe: Callable[[], object]

    async def run(self, silent_for_s: float = SILENT_FOR_S) -> tuple[list[Reply], list[Reply]]:
        """What the calls at the silent process were answered, and those at the other; credit is for ``CALLS``."""
        first = asyncio.create_task(self._calls(self.silent_port))
        await asyncio.sleep(SILENT_AFTER_S)
        self.silence()
        try:
            await asyncio.sleep(0.1)
            self.wipe()
            await asyncio.sleep(silent_for_s)
            second = await self._calls(self.other_port)
        finally:
            self.wake()
        return await first, second

    async def _calls(self, port: int) -> list[Reply]:
        request = request_bytes("/v1/embeddings", self.key, {"model": self.model, "input": list(range(TOKENS))})
        return await asyncio.gather(*(send(port, request, timeout_s=60) for _ in range(CALLS)))
