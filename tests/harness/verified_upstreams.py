"""Upstreams for verification: their vectors leave the space, they wait until they may answer, they say who they are."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable

import msgspec
from typing_extensions import override

from providers.worker_client.identity import WorkerBuild, WorkerIdentity
from router.verification.report import VerificationReport
from tests.harness.fake_upstream import Received, Reply, Upstream

WIDTH = 32
REASON = "the maker's own service"
IDENTITY = WorkerIdentity(
    model="tests/model",
    revision="e04d1a04",
    space="model:1",
    weights_sha256="0" * 64,
    dimensions=WIDTH,
    pooling=("mean",),
    normalized=True,
    prompts={},
    build=WorkerBuild(dtype="float32"),
)


class NamedWorker(Upstream):
    """Says of itself what the catalogue of these tests does."""

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        if received.path == "/info":
            return super()._bytes(received, Reply(body=msgspec.json.encode(IDENTITY)))
        return super()._bytes(received, reply)


class Shifted(Upstream):
    """Answers for another text than was sent, once ``shift`` is set."""

    shift = False

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        if self.shift and reply == Reply():
            body = received.json
            assert isinstance(body["input"], list)
            body["input"] = ["x" + str(one) for one in body["input"]]
            received = Received(received.method, received.path, received.headers, json.dumps(body).encode(), ("", 0))
        return super()._bytes(received, reply)


class Gated(Shifted):
    """Answers nothing while its gate is shut."""

    def __init__(self) -> None:
        super().__init__(WIDTH)
        self.gate = threading.Event()
        self.gate.set()

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        assert self.gate.wait(30)
        return super()._bytes(received, reply)

    async def between(
        self, verification: Awaitable[VerificationReport], change: Callable[[], Awaitable[object]]
    ) -> VerificationReport:
        """The report of a verification during which ``change`` happens: after it has sent and before it is answered."""
        self.gate.clear()
        calls = len(self.calls)
        task = asyncio.ensure_future(verification)
        await self.is_called(calls)
        await change()
        self.gate.set()
        return await task

    async def is_called(self, before: int) -> None:
        """Returns once there are more calls than ``before``."""
        for _ in range(3000):
            if len(self.calls) > before:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nobody called it")
