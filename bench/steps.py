"""Measures the pipeline's steps in microseconds: real functions, real stores, the stub upstream, one call at a time.

Every step of the pipeline is wrapped with a clock (two readings cost about 0.1 µs). Steps with a network trip are
reported as wall time: one call at a time shares neither round trips nor commits, so they are the worst case. In
``commit`` durability the process sleeps for milliseconds before each step, and its caches are cold.
"""

import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec
import uvloop
from cryptography.fernet import Fernet
from pydantic import SecretStr

from bench import upstream as stub
from bench.machine import LOAD_CORE, SYSTEM_CORE, on_core
from bench.missing import require_programs
from bench.targets import request_body
from gigarouter import settings
from gigarouter.schema import migrate
from gigarouter.wiring import process
from router import pipeline
from router.context import RouterContext
from router.dispatch import attempt
from router.values import RawCall
from store.embedded import Embedded
from store.ids import RequestId, new_id
from tests.builders.database import DatabaseBuilder

P = ParamSpec("P")
T = TypeVar("T")

CALLS = 2_000
WARM_UP = 200
MODEL = "bench/steps"

Clocked = dict[str, list[float]]

# Functions that the pipeline calls -> the name in the report.
PLAIN = {"parse": "parse", "resolve": "resolve", "permit": "permit", "estimate": "estimate", "choose": "choose"}
AFTER = {"compute_usage": "usage", "encode_answer": "answer"}
AWAITED = {"authenticate_caller": "authenticate", "dispatch": "dispatch", "charge": "charge"}
ORDER = (
    *("authenticate", "parse", "resolve", "permit", "estimate", "choose", "admit", "dispatch", "· validate"),
    *("usage", "answer", "charge", "the whole pipeline"),
)


class Step(msgspec.Struct, frozen=True):
    """Median and 99th percentile of one step, in microseconds; ``setting`` is durability and encoding."""

    name: str
    setting: str
    p50_us: float
    p99_us: float


def lines(steps: list[Step]) -> Iterator[str]:
    """A table with a column per setting."""
    settings_seen = list(dict.fromkeys(step.setting for step in steps))
    by_name = {(step.name, step.setting): step for step in steps}
    yield "\n# microseconds per step (median / p99), one call at a time"
    yield f"{'step':<20}" + "".join(f"{setting:>26}" for setting in settings_seen)
    for name in ORDER:
        cells = [by_name[name, setting] for setting in settings_seen]
        yield f"{name:<20}" + "".join(f"{f'{cell.p50_us:.1f} / {cell.p99_us:.1f}':>26}" for cell in cells)


def measure() -> list[Step]:
    """Start stores and the stub, run the pipeline in this process on the system core."""
    with tempfile.TemporaryDirectory(prefix="gr-steps-") as name:
        folder = Path(name)
        with on_core(LOAD_CORE):
            upstream = stub.start(folder / "upstream")
        try:
            with on_core(SYSTEM_CORE), Embedded(folder / "stores") as servers:
                return uvloop.run(_measure(servers, upstream))
        finally:
            upstream.stop()


async def _measure(servers: Embedded, upstream: stub.Upstream) -> list[Step]:
    secret_key = Fernet.generate_key().decode()
    key = await asyncio.to_thread(_set_up, servers.database_url, secret_key, upstream.url("base64"))
    clocked: Clocked = defaultdict(list)
    _clock_the_pipeline(clocked)
    steps: list[Step] = []
    for durability in ("memory", "commit"):
        chosen = settings.load(
            database_url=SecretStr(servers.database_url),
            redis_url=SecretStr(servers.redis_url),
            secret_keys=[SecretStr(secret_key)],
            allowed_private_networks="127.0.0.0/8",
            durability=durability,
        )
        async with process(chosen, "serve") as context:
            for encoding in ("float", "base64"):
                await _calls(context, key, encoding, WARM_UP)
                clocked.clear()
                await _calls(context, key, encoding, CALLS, clocked["the whole pipeline"])
                steps += [_step(name, f"{durability}, {encoding}", clocked[name]) for name in ORDER]
    return steps


def _set_up(database_url: str, secret_key: str, base_url: str) -> str:
    migrate(database_url)
    database = DatabaseBuilder(database_url, secret_key)
    database.an_endpoint(database.a_model(MODEL, dimensions=stub.DIMENSIONS), base_url)
    return database.a_key(database.an_account(1_000_000_000_000))


async def _calls(context: RouterContext, key: str, encoding: str, count: int, whole: list[float] | None = None) -> None:
    body = msgspec.json.encode(request_body(MODEL, encoding))
    loop = asyncio.get_running_loop()
    for _ in range(count):
        call = RawCall(
            request_id=RequestId(new_id()),
            body=body,
            authorization=f"Bearer {key}",
            idempotency_key=None,
            now=datetime.now(UTC),
            deadline_at=loop.time() + 60,
        )
        began = time.perf_counter()
        await pipeline.embed(call, context)
        if whole is not None:
            whole.append(time.perf_counter() - began)


def _step(name: str, setting: str, seconds: list[float]) -> Step:
    assert seconds, f"the pipeline no longer has the step {name}"
    cuts = statistics.quantiles(seconds, n=100)
    return Step(name, setting, round(1e6 * cuts[49], 2), round(1e6 * cuts[98], 2))


def _clock_the_pipeline(clocked: Clocked) -> None:
    for function, name in (PLAIN | AFTER).items():
        setattr(pipeline, function, _plain(getattr(pipeline, function), clocked, name))
    for function, name in AWAITED.items():
        setattr(pipeline, function, _awaited(getattr(pipeline, function), clocked, name))
    setattr(pipeline, "admit", _entered(vars(pipeline)["admit"], clocked, "admit"))  # noqa: B010 - not exported, on purpose
    setattr(attempt, "validate_vectors", _plain(vars(attempt)["validate_vectors"], clocked, "· validate"))  # noqa: B010


def _plain(function: Callable[P, T], clocked: Clocked, name: str) -> Callable[P, T]:
    @wraps(function)
    def clock(*arguments: P.args, **named: P.kwargs) -> T:
        began = time.perf_counter()
        result = function(*arguments, **named)
        clocked[name].append(time.perf_counter() - began)
        return result

    return clock


def _awaited(function: Callable[P, Awaitable[T]], clocked: Clocked, name: str) -> Callable[P, Awaitable[T]]:
    @wraps(function)
    async def clock(*arguments: P.args, **named: P.kwargs) -> T:
        began = time.perf_counter()
        result = await function(*arguments, **named)
        clocked[name].append(time.perf_counter() - began)
        return result

    return clock


def _entered(
    function: Callable[P, AbstractAsyncContextManager[T]], clocked: Clocked, name: str
) -> Callable[P, AbstractAsyncContextManager[T]]:
    """Only the way in: leaving frees the hold, which waits for nobody."""

    @asynccontextmanager
    async def clock(*arguments: P.args, **named: P.kwargs) -> AsyncIterator[T]:
        began = time.perf_counter()
        async with function(*arguments, **named) as hold:
            clocked[name].append(time.perf_counter() - began)
            yield hold

    return clock


if __name__ == "__main__":
    require_programs(("nginx",))
    print("\n".join(lines(measure())))
