"""Interleaved rounds in one process: each contender runs a few seconds in turn, so that the machine's drift hits all.

A ratio is taken within a round, against ours of that round; its median and range over the rounds are what is judged.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from bench.machine import cpu_s
from bench.report import RESULTS

WARM_UP_S = 0.3

# One unit of work, by the worker of this number.
Call = Callable[[int], Awaitable[None]]
TargetT_contra = TypeVar("TargetT_contra", contravariant=True)


class NotInstalled(Exception):
    """A library is missing; the sentence says what installs it."""


class Contender(Protocol[TargetT_contra]):
    """One way to do a job; ``version`` names the library's."""

    name: str

    def version(self) -> str:
        """Of the library. Raises :class:`NotInstalled`."""
        ...

    def opened(self, target: TargetT_contra) -> AbstractAsyncContextManager[Call]:
        """Connect to what the job talks to, until the block ends."""
        ...


class Point(msgspec.Struct, frozen=True):
    """One contender for a few seconds in one round; CPU in microseconds per call: the client's, the server's."""

    contender: str
    tasks: int
    round: int
    per_s: float
    cpu_us: float
    server_cpu_us: float


class Row(msgspec.Struct, frozen=True):
    """Medians of one contender at one number of tasks, with ranges.

    ``ratio`` is its rate over ours of the same round, ``cpu_ratio`` the same of the CPU per call. Quartiles stand
    beside the lowest and highest, since one round beside other work spoils those.
    """

    contender: str
    version: str
    tasks: int
    rounds: int
    per_s: float
    per_s_low: float
    per_s_high: float
    cpu_us: float
    server_cpu_us: float
    ratio: float
    ratio_quartiles: tuple[float, float]
    ratio_range: tuple[float, float]
    cpu_ratio: float
    cpu_ratio_quartiles: tuple[float, float]


class Job(msgspec.Struct):
    """What is compared, and all that was measured of it so far; kept as JSON after every point."""

    job: str
    seconds_per_point: float
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    left_out: dict[str, str]
    rows: list[Row]
    points: list[Point]

    def keep(self) -> Path:
        """Write the JSON, one file per job and run."""
        RESULTS.mkdir(exist_ok=True)
        instant = str(self.machine["measured_at"]).replace(":", "").replace("-", "")
        path = RESULTS / f"clients-{instant}-{self.job}.json"
        self.rows = rows(self.points, self.versions)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        return path


async def run(
    job: Job,
    contenders: Sequence[Contender[TargetT_contra]],
    target: TargetT_contra,
    servers: list[int],
    widths: Sequence[int],
    count: int,
) -> None:
    """Measure ``count`` rounds; ``servers`` are the processes whose CPU is counted beside ours."""
    async with AsyncExitStack() as stack:
        calls: dict[str, Call] = {}
        for contender in contenders:
            try:
                job.versions[contender.name] = contender.version()
            except NotInstalled as reason:
                job.left_out[contender.name] = str(reason)
                print(f"{contender.name} is left out: {reason}", flush=True)
                continue
            calls[contender.name] = await stack.enter_async_context(contender.opened(target))
        for number in range(1, count + 1):
            for tasks in widths:
                # Another one goes first in each round.
                names = list(calls)
                names = names[number % len(names) :] + names[: number % len(names)]
                for name in names:
                    try:
                        point = await _point(name, calls[name], tasks, number, job.seconds_per_point, servers)
                    except Exception as reason:  # noqa: BLE001 - each library has errors of its own for a lost server
                        job.left_out[name] = f"lost in round {number} at {tasks} tasks: {reason!r}"
                        print(f"{name} is left out from here on: {reason!r}", flush=True)
                        del calls[name]
                        continue
                    job.points.append(point)
                    job.keep()
                    say(point)
                # Without ours there is nothing to compare with.
                if next(iter(job.versions)) not in calls:
                    return


def say(point: Point) -> None:
    """One line as it comes."""
    print(
        f"round {point.round:>2}  {point.tasks:>3} tasks  {point.contender:<30} {point.per_s:>8.0f}/s"
        f"  {point.cpu_us:>7.1f} µs  server {point.server_cpu_us:>6.1f} µs",
        flush=True,
    )


async def _point(name: str, call: Call, tasks: int, number: int, seconds: float, servers: list[int]) -> Point:
    await _load(call, tasks, WARM_UP_S)
    gc.collect()
    server_before, before, began = cpu_s(servers), time.process_time(), time.perf_counter()
    done = await _load(call, tasks, seconds)
    took, cpu, server_cpu = time.perf_counter() - began, time.process_time() - before, cpu_s(servers) - server_before
    return Point(name, tasks, number, done / took, 1e6 * cpu / done, 1e6 * server_cpu / done)


async def _load(call: Call, tasks: int, seconds: float) -> int:
    until = time.perf_counter() + seconds

    async def worker(number: int) -> int:
        done = 0
        while time.perf_counter() < until:
            await call(number)
            done += 1
        return done

    async with asyncio.timeout(seconds + 30):
        return sum(await asyncio.gather(*(worker(number) for number in range(tasks))))


def rows(points: list[Point], versions: dict[str, str]) -> list[Row]:
    """One row per contender and number of tasks, in the order of ``versions``, whose first is ours."""
    ours = {(p.tasks, p.round): p for p in points if p.contender == next(iter(versions))}
    found = []
    for tasks in sorted({point.tasks for point in points}):
        for name, version in versions.items():
            group = [p for p in points if (p.contender, p.tasks) == (name, tasks) and (tasks, p.round) in ours]
            if group:
                found.append(_row(group, [ours[tasks, p.round] for p in group], version))
    return found


def _row(group: list[Point], ours: list[Point], version: str) -> Row:
    rates = [point.per_s for point in group]
    ratios = [point.per_s / base.per_s for point, base in zip(group, ours, strict=True)]
    cpu_ratios = [point.cpu_us / base.cpu_us for point, base in zip(group, ours, strict=True)]
    return Row(
        contender=group[0].contender,
        version=version,
        tasks=group[0].tasks,
        rounds=len(group),
        per_s=round(statistics.median(rates), 1),
        per_s_low=round(min(rates), 1),
        per_s_high=round(max(rates), 1),
        cpu_us=round(statistics.median(point.cpu_us for point in group), 1),
        server_cpu_us=round(statistics.median(point.server_cpu_us for point in group), 1),
        ratio=round(statistics.median(ratios), 3),
        ratio_quartiles=_quartiles(ratios),
        ratio_range=(round(min(ratios), 3), round(max(ratios), 3)),
        cpu_ratio=round(statistics.median(cpu_ratios), 3),
        cpu_ratio_quartiles=_quartiles(cpu_ratios),
    )


def _quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return round(first, 3), round(third, 3)


def lines(job: Job) -> Iterator[str]:
    """The table, ratios first."""
    yield f"\n# {job.job}: over ours as median, quartiles, range; calls per second; CPU µs per call here and there"
    yield (
        f"{'contender':<28}{'version':<15}{'tasks':>5}  {'rate':>5} {'quartiles':>12} {'range':>12}"
        f"  {'CPU':>5} {'quartiles':>12}{'per s':>9}{'cpu':>8}{'served':>8}"
    )
    for row in job.rows:
        yield (
            f"{row.contender:<28}{row.version:<15}{row.tasks:>5}  {row.ratio:>5.2f} {_span(row.ratio_quartiles)}"
            f" {_span(row.ratio_range)}  {row.cpu_ratio:>5.2f} {_span(row.cpu_ratio_quartiles)}"
            f"{row.per_s:>9.0f}{row.cpu_us:>8.1f}{row.server_cpu_us:>8.1f}"
        )
    for name, reason in job.left_out.items():
        yield f"{name}: {reason}"


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:>5.2f} - {ends[1]:<4.2f}"
