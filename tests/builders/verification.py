"""Builders for tests of verification: a model, servers of right and of wrong vectors, an edit during a call."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from typing_extensions import override

from catalog.values import Model
from providers.worker_info import WorkerBuild, WorkerIdentity
from router.verification.report import VerificationReport
from store.ids import EndpointId
from tests.builders.spaces import Desk
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


async def a_model(desk: Desk, **facts: Any) -> Model:
    usual: dict[str, Any] = {"dimensions": WIDTH, "numerics": "bf16"}
    return await desk.a_model(**(usual | facts))


async def a_live_endpoint(desk: Desk, upstream: Upstream, **spec: Any) -> EndpointId:
    """An endpoint that is the reference of its space."""
    endpoint = await desk.a_draft(await a_model(desk), "vendor", upstream.base_url, **spec)
    assert (await desk.verify(endpoint, as_reference=REASON)).passed
    return endpoint


class AWorker(Upstream):
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
            body["input"] = ["x" + str(text) for text in body["input"]]
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


async def during_a_call(
    upstream: Gated, verification: Awaitable[VerificationReport], change: Callable[[], Awaitable[object]]
) -> VerificationReport:
    """Something happens after the endpoint was called and before it answers."""
    upstream.gate.clear()
    before = len(upstream.calls)
    task = asyncio.ensure_future(verification)
    for _ in range(3000):
        if len(upstream.calls) > before:
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("nobody called it")
    await change()
    upstream.gate.set()
    return await task
