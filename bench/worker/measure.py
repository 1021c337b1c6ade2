"""The measurements, each a function from contenders to figures."""

import http.client
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from bench import machine
from bench.worker import model
from bench.worker.contenders import LOST, Contender, Ours, Replicas

# A lone short request: a search box's query.
SHORT_TOKENS = 16


class Rate(msgspec.Struct, frozen=True):
    """One contender on one mix: medians of the rounds, in tokens of the texts per second, and the spread."""

    mix: str
    name: str
    tokens: int
    wall_rate: float
    cpu_rate: float
    wall_rate_low: float
    wall_rate_high: float
    difference_max: float


class Latency(msgspec.Struct, frozen=True):
    """A lone short request, in milliseconds, alone and while a job of ``texts`` texts runs in ``lane``."""

    lane: str
    texts: int
    idle_p50_ms: float
    idle_p99_ms: float
    busy_p50_ms: float
    busy_p99_ms: float
    requests_busy: int
    job_alone_s: float
    job_disturbed_s: float


class Invariance(msgspec.Struct, frozen=True):
    """How many of the tried (text, company) pairs had the bits that the text has alone."""

    dtype: str
    equal: int
    tried: int


class Padding(msgspec.Struct, frozen=True):
    """Tokens computed for nobody, as the server counts them, over the whole run."""

    tokens: float
    filler: float


class Scaling(msgspec.Struct, frozen=True):
    """Replicas under Ray Serve, one core each."""

    replicas: int
    wall_rate: float


def rates(
    mix: str, lengths: list[int], contenders: Sequence[Contender], rounds: int, say: Callable[[str], None]
) -> list[Rate]:
    """Interleaved: each round runs every contender once, another one first each time.

    A contender that is lost runs no further; its figures are those of the rounds before.
    """
    texts, tokens = model.texts_of(lengths), sum(lengths)
    walls: dict[str, list[float]] = {one.name: [] for one in contenders}
    cpus: dict[str, list[float]] = {one.name: [] for one in contenders}
    vectors = {}
    lost: set[str] = set()
    for number in range(rounds):
        turn = number % len(contenders)
        for one in [*contenders[turn:], *contenders[:turn]]:
            if one.name in lost:
                continue
            try:
                run, vectors[one.name] = one.run(texts)
            except LOST as reason:
                lost.add(one.name)
                say(f"{mix} {number + 1}/{rounds} {one.name} is left out from here on: {reason}")
                continue
            walls[one.name].append(tokens / run.wall_s)
            cpus[one.name].append(tokens / run.cpu_s)
            say(
                f"{mix} {number + 1}/{rounds} {one.name}: {tokens / run.wall_s:.0f} tokens/s, load {machine.load():.1f}"
            )
    reference = vectors.get("sentence-transformers")
    return [
        Rate(
            mix=mix,
            name=one.name,
            tokens=tokens,
            wall_rate=statistics.median(walls[one.name]),
            cpu_rate=statistics.median(cpus[one.name]),
            wall_rate_low=min(walls[one.name]),
            wall_rate_high=max(walls[one.name]),
            difference_max=float("nan" if reference is None else np.abs(vectors[one.name] - reference).max()),
        )
        for one in contenders
        if walls[one.name]
    ]


def latency(ours: Ours, lane: str, texts: int, requests: int) -> Latency:
    """Idle first, then with the job beside it, one short request after another, each 20 ms after the last."""
    short = model.texts_of([SHORT_TOKENS] * 64, seed=1)
    job = model.texts_of(model.skewed_lengths(texts), seed=2)
    connection = ours.connect()
    _ask(ours, connection, short[:10], 10)
    idle = _ask(ours, connection, short, requests)
    began = time.perf_counter()
    ours.embed(job, lane=lane)
    alone_s = time.perf_counter() - began
    ended = threading.Event()
    connection.close()
    connection = ours.connect()

    def run_job() -> float:
        began = time.perf_counter()
        ours.embed(job, lane=lane)
        ended.set()
        return time.perf_counter() - began

    with ThreadPoolExecutor(1) as worker:
        disturbed = worker.submit(run_job)
        time.sleep(0.5)
        busy = _ask(ours, connection, short, None, until=ended)
        disturbed_s = disturbed.result()
    return Latency(
        lane=lane,
        texts=texts,
        idle_p50_ms=_percentile(idle, 50),
        idle_p99_ms=_percentile(idle, 99),
        busy_p50_ms=_percentile(busy, 50),
        busy_p99_ms=_percentile(busy, 99),
        requests_busy=len(busy),
        job_alone_s=alone_s,
        job_disturbed_s=disturbed_s,
    )


def _ask(
    ours: Ours,
    connection: http.client.HTTPConnection,
    texts: list[str],
    requests: int | None,
    until: threading.Event | None = None,
) -> list[float]:
    taken: list[float] = []
    while len(taken) != requests and not (until is not None and until.is_set()):
        began = time.perf_counter()
        ours.embed([texts[len(taken) % len(texts)]], lane="interactive", connection=connection)
        taken.append(1e3 * (time.perf_counter() - began))
        time.sleep(0.02)
    return taken


def _percentile(values: list[float], percent: int) -> float:
    return float(np.percentile(values, percent))


def invariance(ours: Ours, dtype: str, packs: int) -> Invariance:
    """Texts of 2 to 300 tokens alone, then in random company and order; bits compared."""
    rng = np.random.default_rng(model.SEED)
    texts = model.texts_of(
        [2, 3, 3, 4, 5, 8, 8, 13, 16, 17, 31, 32, 33, 64, 64, 100, 127, 128, 129, 200, 257, 300], seed=3
    )
    alone = [ours.embed([text])[0] for text in texts]
    equal = tried = 0
    for _ in range(packs):
        order = rng.permutation(len(texts))[: rng.integers(2, len(texts) + 1)]
        together = ours.embed([texts[place] for place in order])
        equal += sum(np.array_equal(row, alone[place]) for row, place in zip(together, order, strict=True))
        tried += len(order)
    return Invariance(dtype, equal, tried)


def scaling(folder: Path, most: int, callers: int, requests: int) -> list[Scaling]:
    """The same requests against one replica, then against more; wall time only."""
    lengths = model.skewed_lengths(8)
    texts = model.texts_of(lengths)
    found = []
    for replicas in range(1, most + 1):
        cluster = Replicas(folder, replicas)
        try:
            cluster.embed(texts)
            began = time.perf_counter()
            with ThreadPoolExecutor(callers) as pool:
                list(pool.map(cluster.embed, [texts] * requests))
            found.append(Scaling(replicas, requests * sum(lengths) / (time.perf_counter() - began)))
        finally:
            cluster.close()
    return found
