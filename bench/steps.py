"""Microseconds of each step of the line: the real functions on real stores and the stub upstream, one call at a time.

Every step that the line calls is wrapped with a clock (two readings cost about 0.1 µs). Steps with a network trip are
told as wall time: at one call at a time nothing shares their pipeline or their commit, so they are the worst case.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from cryptography.fernet import Fernet
from pydantic import SecretStr

from bench import upstream as stub
from bench.machine import LOAD_CORE, SYSTEM_CORE, on_core
from bench.targets import request_body
from gigarouter import settings
from gigarouter.build import process
from gigarouter.schema import migrate
from router import dispatch, line
from router.parts import Parts
from router.values import RawCall
from store.embedded import Embedded
from store.ids import RequestId, new_id
from tests.shop import Shop

CALLS = 2_000
WARM_UP = 200
MODEL = "bench/steps"

Clocked = dict[str, list[float]]

# As the line calls them; the name in the report where it differs from the function's.
PLAIN = {"parse": "parse", "resolve": "resolve", "permit": "permit", "estimate": "estimate", "choose": "choose"}
AFTER = {"usage": "usage", "answer": "answer"}
AWAITED = {"who_calls": "authenticate", "dispatch": "dispatch", "charge": "charge"}
ORDER = (
    *("authenticate", "parse", "resolve", "permit", "estimate", "choose", "admit", "dispatch", "· check"),
    *("usage", "answer", "charge", "the whole line"),
)


class Step(msgspec.Struct, frozen=True):
    """Median and 99th percentile of one step, in microseconds."""

    name: str
    encoding: str
    p50_us: float
    p99_us: float


def lines(steps: list[Step]) -> Iterator[str]:
    """A table with a column per encoding."""
    encodings = list(dict.fromkeys(step.encoding for step in steps))
    by_name = {(step.name, step.encoding): step for step in steps}
    yield "\n# microseconds per step (median / p99), one call at a time"
    yield f"{'step':<16}" + "".join(f"{'answer in ' + encoding:>26}" for encoding in encodings)
    for name in ORDER:
        cells = [by_name[name, encoding] for encoding in encodings]
        yield f"{name:<16}" + "".join(f"{f'{cell.p50_us:.1f} / {cell.p99_us:.1f}':>26}" for cell in cells)


def measure(encodings: list[str]) -> list[Step]:
    """Start stores and the stub, run the line in this process on the system core."""
    with tempfile.TemporaryDirectory(prefix="gr-steps-") as name:
        folder = Path(name)
        with on_core(LOAD_CORE):
            upstream = stub.start(folder / "upstream")
        try:
            with on_core(SYSTEM_CORE), Embedded(folder / "stores") as servers:
                return uvloop.run(_measure(servers, upstream, encodings))
        finally:
            upstream.stop()


async def _measure(servers: Embedded, upstream: stub.Upstream, encodings: list[str]) -> list[Step]:
    secret_key = Fernet.generate_key().decode()
    key = await asyncio.to_thread(_set_up, servers.database_url, secret_key, upstream.url("base64"))
    chosen = settings.load(
        database_url=SecretStr(servers.database_url),
        redis_url=SecretStr(servers.redis_url),
        secret_keys=[SecretStr(secret_key)],
        allowed_private_networks="127.0.0.0/8",
    )
    clocked: Clocked = defaultdict(list)
    _clock_the_line(clocked)
    steps: list[Step] = []
    async with process(chosen, "serve") as running:
        for encoding in encodings:
            await _calls(running.parts, key, encoding, WARM_UP)
            clocked.clear()
            await _calls(running.parts, key, encoding, CALLS, clocked["the whole line"])
            steps += [_step(name, encoding, clocked[name]) for name in ORDER]
    return steps


def _set_up(database_url: str, secret_key: str, base_url: str) -> str:
    migrate(database_url)
    shop = Shop(database_url, secret_key)
    shop.an_endpoint(shop.a_model(MODEL, dimensions=stub.DIMENSIONS), base_url)
    return shop.a_key(shop.an_account(1_000_000_000_000))


async def _calls(parts: Parts, key: str, encoding: str, count: int, whole: list[float] | None = None) -> None:
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
        await line.embed(call, parts)
        if whole is not None:
            whole.append(time.perf_counter() - began)


def _step(name: str, encoding: str, seconds: list[float]) -> Step:
    assert seconds, f"the line no longer has the step {name}"
    cuts = statistics.quantiles(seconds, n=100)
    return Step(name, encoding, round(1e6 * cuts[49], 2), round(1e6 * cuts[98], 2))


def _clock_the_line(clocked: Clocked) -> None:
    for function, name in (PLAIN | AFTER).items():
        setattr(line, function, _plain(getattr(line, function), clocked, name))
    for function, name in AWAITED.items():
        setattr(line, function, _awaited(getattr(line, function), clocked, name))
    line.admit = _entered(line.admit, clocked, "admit")  # type: ignore[assignment]
    dispatch.check = _plain(dispatch.check, clocked, "· check")


def _plain(function: Callable[..., Any], clocked: Clocked, name: str) -> Callable[..., Any]:
    @wraps(function)
    def clock(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments, **named)
        clocked[name].append(time.perf_counter() - began)
        return result

    return clock


def _awaited(function: Callable[..., Any], clocked: Clocked, name: str) -> Callable[..., Any]:
    @wraps(function)
    async def clock(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = await function(*arguments, **named)
        clocked[name].append(time.perf_counter() - began)
        return result

    return clock


def _entered(function: Callable[..., Any], clocked: Clocked, name: str) -> Callable[..., Any]:
    """Only the way in: leaving frees the hold, which waits for nobody."""

    @asynccontextmanager
    async def clock(*arguments: Any) -> AsyncIterator[Any]:
        began = time.perf_counter()
        async with function(*arguments) as hold:
            clocked[name].append(time.perf_counter() - began)
            yield hold

    return clock


if __name__ == "__main__":
    print("\n".join(lines(measure(sys.argv[1:] or ["float", "base64"]))))
