"""The engine under load and under faults: every accepted request ends exactly once, and only those at fault fail."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from typing_extensions import override

from providers.worker.engine.engine import Embedded, Engine
from providers.worker.engine.health import EXIT_WEDGED, Watchdog
from providers.worker.errors import BadRequest, OutputInvalid, Overloaded, StepFailed
from providers.worker.frames import EmbedBody, FloatMatrix
from providers.worker.model.tokenizer import Encoded
from providers.worker.start import LoadedModel
from tests.builders.worker_engine import FakeModel, an_engine, counted


def request(inputs: int = 1, *, first: int = 5, lane: str = "interactive", tokens: int = 10) -> EmbedBody:
    """Inputs of ``tokens`` tokens, the end token included; their ids tell them apart."""
    ids = [[first + index, *[5] * (tokens - 2)] for index in range(inputs)]
    return EmbedBody(token_ids=ids, lane="batch" if lane == "batch" else "interactive")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - the other side is a thread
            await asyncio.sleep(0.002)


def queued(engine: Engine) -> float:
    return engine.load()["interactive_queue_tokens"] + engine.load()["batch_queue_tokens"]


def test_a_large_request_is_split_and_joined_in_order(ready: LoadedModel) -> None:
    model = FakeModel(ready.identity.dimensions)

    async def story() -> Embedded:
        async with an_engine(ready, model) as engine:
            return await engine.embed(request(inputs=100))

    embedded = asyncio.run(story())
    assert len(model.packs) == 17
    assert max(sum(pack) for pack in model.packs) <= 64
    assert embedded.tokens == [10] * 100
    # Normalized rows keep the order of their first number.
    assert np.all(np.diff(embedded.matrix[:, 0]) > 0)


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(ready: LoadedModel) -> None:
    model = FakeModel(ready.identity.dimensions)
    model.gate.clear()

    async def story() -> float:
        async with an_engine(ready, model) as engine, asyncio.TaskGroup() as group:
            held = [group.create_task(engine.embed(request(inputs=20))) for _ in range(2)]
            await until(lambda: queued(engine) == 340)
            began = time.monotonic()
            with pytest.raises(Overloaded) as refused:
                await engine.embed(request(inputs=20))
            assert time.monotonic() - began < 10, "nothing leaves the queue before the gate opens"
            assert counted(engine, "requests_total", outcome="overloaded") == 1
            model.gate.set()
            assert [len((await one).tokens) for one in held] == [20, 20]
            return refused.value.retry_after_s

    assert asyncio.run(story()) == pytest.approx(2.0)


def test_a_caller_who_leaves_takes_the_work_along(ready: LoadedModel) -> None:
    model = FakeModel(ready.identity.dimensions)
    model.gate.clear()

    async def story() -> None:
        async with an_engine(ready, model) as engine, asyncio.TaskGroup() as group:
            stays = group.create_task(engine.embed(request(inputs=2)))
            await until(lambda: bool(model.packs))
            leaves = group.create_task(engine.embed(request(inputs=20)))
            await until(lambda: queued(engine) == 200)
            leaves.cancel()
            await until(leaves.done)
            assert queued(engine) == 0
            model.gate.set()
            await stays
            assert counted(engine, "requests_total", outcome="canceled") == 1

    asyncio.run(story())
    assert sum(len(pack) for pack in model.packs) == 2


def test_drain_answers_everything_accepted_and_refuses_the_rest(ready: LoadedModel) -> None:
    model = FakeModel(ready.identity.dimensions)
    model.gate.clear()

    async def story() -> list[Embedded]:
        async with an_engine(ready, model) as engine, asyncio.TaskGroup() as group:
            accepted = [group.create_task(engine.embed(request(inputs=5))) for _ in range(4)]
            await until(lambda: queued(engine) >= 100)
            drained = group.create_task(engine.drain())
            await until(lambda: engine.draining)
            with pytest.raises(Overloaded, match="shutting down"):
                await engine.embed(request())
            assert not drained.done()
            model.gate.set()
            await drained
            return [await one for one in accepted]

    assert [len(one.tokens) for one in asyncio.run(story())] == [5] * 4


def test_out_of_memory_splits_the_pack_and_nobody_fails(ready: LoadedModel) -> None:
    model = FakeModel(ready.identity.dimensions)
    model.largest = 20

    async def story() -> Embedded:
        async with an_engine(ready, model) as engine:
            embedded = await engine.embed(request(inputs=6))
            assert counted(engine, "device_faults_total", kind="memory") > 0
            engine.load()
            assert counted(engine, "pack_budget_tokens") < 64
            return embedded

    assert asyncio.run(story()).tokens == [10] * 6


def test_an_input_that_alone_is_too_large_for_the_device_fails_alone(ready: LoadedModel) -> None:
    model = FakeModel(ready.identity.dimensions)
    model.largest = 30

    async def story() -> None:
        async with an_engine(ready, model) as engine, asyncio.TaskGroup() as group:
            small = group.create_task(engine.embed(request(inputs=3)))
            with pytest.raises(StepFailed, match="too little memory"):
                await engine.embed(request(tokens=40))
            assert (await small).tokens == [10] * 3

    asyncio.run(story())


def test_a_device_fault_fails_that_step_only(ready: LoadedModel) -> None:
    model = FakeModel(ready.identity.dimensions)
    model.faults = [RuntimeError("CUDA error: an illegal memory access was encountered")]

    async def story() -> None:
        async with an_engine(ready, model) as engine:
            with pytest.raises(StepFailed) as failed:
                await engine.embed(request())
            assert failed.value.retry_after_s > 0
            assert (await engine.embed(request())).tokens == [10]
            assert not engine.broken.is_set()
            assert counted(engine, "device_faults_total", kind="device") == 1

    asyncio.run(story())


@pytest.mark.parametrize("how", ["does not answer", "fails three times in a row"])
def test_a_broken_device_sends_everyone_away_and_ends_the_worker(ready: LoadedModel, how: str) -> None:
    model = FakeModel(ready.identity.dimensions)
    model.dead = how == "does not answer"
    model.faults = [RuntimeError("CUDA error: unspecified launch failure")] * 3

    async def story() -> None:
        async with an_engine(ready, model) as engine:
            results = await asyncio.gather(
                *(engine.embed(request(tokens=50)) for _ in range(5)), return_exceptions=True
            )
            assert all(isinstance(result, StepFailed) for result in results)
            await until(engine.broken.is_set)
            with pytest.raises(Overloaded):
                await engine.embed(request())

    asyncio.run(story())


def test_a_fault_of_ours_leaves_nobody_waiting(ready: LoadedModel) -> None:
    model = FakeModel(ready.identity.dimensions)
    model.faults = [KeyError("a bug")]

    async def story() -> None:
        async with an_engine(ready, model) as engine:
            with pytest.raises(StepFailed):
                await engine.embed(request())
            assert (await engine.embed(request())).tokens == [10]

    asyncio.run(story())


def test_a_vector_that_is_none_fails_its_request_only(ready: LoadedModel) -> None:
    class Sick(FakeModel):
        @override
        def embed(self, pack: Sequence[Encoded], interrupt: Callable[[], None] | None = None) -> FloatMatrix:
            matrix = super().embed(pack, interrupt)
            for row, one in enumerate(pack):
                if one.ids[0] == 7:
                    matrix[row, 3] = np.nan
                if one.ids[0] == 8:
                    matrix[row] = 0
            return matrix

    async def story() -> None:
        async with an_engine(ready, Sick(ready.identity.dimensions)) as engine:
            outcomes = await asyncio.gather(
                *(engine.embed(request(first=first)) for first in (6, 7, 8, 9)), return_exceptions=True
            )
            assert [type(one) for one in outcomes] == [Embedded, OutputInvalid, OutputInvalid, Embedded]

    asyncio.run(story())


def test_short_work_runs_in_the_middle_of_a_long_step(ready: LoadedModel) -> None:
    """The lone short request is answered while the batch step it came upon is still running."""

    class Long(FakeModel):
        @override
        def embed(self, pack: Sequence[Encoded], interrupt: Callable[[], None] | None = None) -> FloatMatrix:
            if interrupt is not None and len(pack[0].ids) >= 60:
                long_began.set()
                for _ in range(6_000):
                    interrupt()
                    if short_done.wait(0.01):
                        break
            return super().embed(pack, interrupt)

    long_began, short_done = threading.Event(), threading.Event()
    model = Long(ready.identity.dimensions)

    async def story() -> None:
        async with an_engine(ready, model) as engine, asyncio.TaskGroup() as group:
            long = group.create_task(engine.embed(request(tokens=60, lane="batch")))
            await until(long_began.is_set)
            await engine.embed(request())
            assert not long.done()
            # The engine's thread counts it a moment after the answer.
            await until(lambda: counted(engine, "interruptions_total") == 1)
            short_done.set()
            await long

    asyncio.run(story())
    assert model.packs == [[10], [60]]


def test_dimensions_outside_the_model_are_refused(ready: LoadedModel, minilm_ready: LoadedModel) -> None:
    async def ask(ready: LoadedModel, dimensions: int) -> Embedded:
        async with an_engine(ready, FakeModel(ready.identity.dimensions)) as engine:
            return await engine.embed(EmbedBody(token_ids=[[5]], dimensions=dimensions))

    for dimensions in (0, -1, 65):
        with pytest.raises(BadRequest, match="from 1 to 64"):
            asyncio.run(ask(ready, dimensions))
    assert asyncio.run(ask(ready, 8)).matrix.shape == (1, 8)
    assert asyncio.run(ask(minilm_ready, 384)).matrix.shape == (1, 384)
    with pytest.raises(BadRequest, match="cannot be shortened"):
        asyncio.run(ask(minilm_ready, 128))


def test_a_step_that_never_ends_ends_the_process() -> None:
    program = (
        "import time\nfrom providers.worker.engine.health import Watchdog\n"
        "dog = Watchdog(time.monotonic)\ndog.start()\ndog.begin(60)\ndog.end_of_step()\ntime.sleep(0.8)\n"
        "dog.begin(0.1)\ntime.sleep(30)\n"
    )
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, timeout=60)
    assert ended.returncode == EXIT_WEDGED
    assert time.monotonic() - began < 20


def test_the_watchdog_leaves_a_step_alone_that_ends_in_time() -> None:
    ended: list[int] = []
    dog = Watchdog(time.monotonic, ended.append)
    dog.start()
    dog.begin(5)
    time.sleep(0.7)
    dog.end_of_step()
    dog.stop()
    assert not ended
