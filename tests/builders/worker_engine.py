"""A model whose time and faults the test decides; everything around it is real."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np

from providers.worker.engine.device_step import DeviceSteps
from providers.worker.engine.engine import Engine
from providers.worker.engine.health import Metrics, Watchdog
from providers.worker.engine.scheduler import Limits, Scheduler
from providers.worker.frames import FloatMatrix
from providers.worker.model.tokenizer import Encoded
from providers.worker.start import LoadedModel

LIMITS = Limits(pack_tokens=64, interactive_tokens=64, fill_tokens=0, queue_tokens=400, batch_queue_tokens=400)


class FakeModel:
    """A vector tells its text: the sum of its ids. ``gate`` holds steps back; ``faults`` are raised, one per step."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.gate = threading.Event()
        self.gate.set()
        self.packs: list[list[int]] = []
        self.faults: list[Exception | None] = []
        self.largest = 1 << 30
        self.dead = False

    def embed(self, pack: Sequence[Encoded], interrupt: Callable[[], None] | None = None) -> FloatMatrix:
        self.packs.append([len(one.ids) for one in pack])
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        if sum(len(one.ids) for one in pack) > self.largest:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        assert self.gate.wait(20)
        return np.array([[sum(one.ids), *[1.0] * (self.width - 1)] for one in pack], dtype=np.float32)

    def filler_tokens(self, tokens: int) -> int:
        return 0

    def is_responsive(self) -> bool:
        return not self.dead


@asynccontextmanager
async def an_engine(ready: LoadedModel, model: FakeModel, limits: Limits = LIMITS) -> AsyncIterator[Engine]:
    metrics = Metrics()
    engine = Engine(
        steps=DeviceSteps(model, watchdog=Watchdog(asyncio.get_running_loop().time), metrics=metrics),
        tokenizers=ready.tokenizers,
        identity=ready.identity,
        scheduler=Scheduler(limits, tokens_per_s=100.0),
        metrics=metrics,
    )
    engine.start()
    try:
        yield engine
    finally:
        model.gate.set()
        await engine.drain()
        engine.stop()


def counted(engine: Engine, name: str, **labels: str) -> float:
    """A counter's value as Prometheus would read it."""
    return engine.metrics.registry.get_sample_value(f"gigarouter_worker_{name}", labels) or 0.0
