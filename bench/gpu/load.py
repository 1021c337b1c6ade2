"""A lone short query beside a batch lane that is never empty: through the engine, and through HTTP on loopback."""

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count

import numpy as np

from bench.gpu.records import Values
from bench.gpu.session import DTYPE, Figures, Session
from bench.gpu.speed import engine_of
from bench.worker import model
from bench.worker.contenders import Ours
from providers.worker.engine.engine import Engine
from providers.worker.errors import Overloaded
from providers.worker.frames import EmbedBody

# A search box's query, and how often one comes.
SHORT_TOKENS = 16
EVERY_S = 0.02
# Enough to keep the queue from running empty, and no more, since they share the machine with what they measure.
CALLERS = 3


def load(session: Session) -> Figures:
    """Through the engine, in this process."""
    idle, busy, tokens_s = asyncio.run(_through_engine(session))
    yield "idle", _percentiles(idle)
    yield "busy", _percentiles(busy) | {"batch_tokens_per_s": tokens_s}


def http_load(session: Session) -> Figures:
    """Through a server of its own process; the batch work comes from another process, and this one only asks."""
    began = time.perf_counter()
    ours = start_server(session)
    try:
        yield "start", {"seconds": time.perf_counter() - began}
        queries = model.texts_of([SHORT_TOKENS] * 64, seed=1)
        connection = ours.connect()
        _ask(ours, connection, queries, number=10)
        yield "idle", _percentiles(_ask(ours, connection, queries, number=session.amount.lone_requests))
        with _saturate(session, ours.port) as batch:
            busy = _ask(ours, connection, queries, seconds=session.amount.load_s)
            summary = _stop(batch)
        yield "busy", _percentiles(busy) | summary
        connection.close()
    finally:
        ours.close()


def start_server(session: Session, module: str = "providers.worker") -> Ours:
    """``python -m providers.worker`` on the folder, or ``module`` in its place."""
    arguments = ("--device", session.device, *(() if session.on_gpu else ("--threads", "1")))
    return Ours(session.folder, dtype=DTYPE, arguments=arguments, module=module)


async def _through_engine(session: Session) -> tuple[list[float], list[float], float]:
    queries = model.texts_of([SHORT_TOKENS] * 64, seed=1)
    texts, rows = session.skewed(session.amount.texts_of_batch)
    tokens = sum(len(row.ids) for row in rows)
    done = 0

    async def saturate(engine: Engine) -> None:
        nonlocal done
        while True:
            try:
                await engine.embed(EmbedBody(texts=texts, lane="batch"))
                done += 1
            except Overloaded as full:
                await asyncio.sleep(min(0.05, full.retry_after_s))

    async with engine_of(session) as engine:
        await _lone(engine, queries, number=10)
        idle = await _lone(engine, queries, number=session.amount.lone_requests)
        tasks = [asyncio.create_task(saturate(engine)) for _ in range(CALLERS)]
        await asyncio.sleep(0.1 * session.amount.load_s)
        done, began = 0, time.perf_counter()
        busy = await _lone(engine, queries, seconds=session.amount.load_s)
        seconds = time.perf_counter() - began
        finished = done
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return idle, busy, finished * tokens / seconds


async def _lone(
    engine: Engine, queries: list[str], *, number: int | None = None, seconds: float | None = None
) -> list[float]:
    """Milliseconds of each query, asked one after the other."""
    taken: list[float] = []
    end = time.perf_counter() + (seconds or 1e9)
    while len(taken) != number and time.perf_counter() < end:
        began = time.perf_counter()
        await engine.embed(EmbedBody(texts=[queries[len(taken) % len(queries)]], lane="interactive"))
        taken.append(1e3 * (time.perf_counter() - began))
        await asyncio.sleep(EVERY_S)
    return taken


def _ask(
    ours: Ours,
    connection: http.client.HTTPConnection,
    queries: list[str],
    *,
    number: int | None = None,
    seconds: float | None = None,
) -> list[float]:
    """The same over HTTP."""
    taken: list[float] = []
    end = time.perf_counter() + (seconds or 1e9)
    for turn in count():
        if turn == number or time.perf_counter() > end:
            break
        began = time.perf_counter()
        ours.embed([queries[turn % len(queries)]], lane="interactive", connection=connection)
        taken.append(1e3 * (time.perf_counter() - began))
        time.sleep(EVERY_S)
    return taken


@contextlib.contextmanager
def _saturate(session: Session, port: int) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps the batch lane full, already at it when the block begins."""
    texts = session.scratch / "batch.json"
    texts.write_text(json.dumps(model.texts_of(session.skewed_lengths(session.amount.texts_of_batch), seed=2)))
    command = [sys.executable, "-m", "bench.gpu.saturate", str(port), str(texts), str(CALLERS)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()


def _stop(process: subprocess.Popen[str]) -> Values:
    """Tell it to end, and read what it has done."""
    output, _ = process.communicate("", timeout=60)
    summary: Values = json.loads(output.splitlines()[-1])
    return summary


def _percentiles(taken: list[float]) -> Values:
    return {
        "requests": len(taken),
        "p50_ms": float(np.percentile(taken, 50)),
        "p99_ms": float(np.percentile(taken, 99)),
        "max_ms": max(taken),
    }
