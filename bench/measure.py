"""Interleaved measuring: every round visits each target at each number of connections; medians over the rounds."""

import statistics
from collections.abc import Callable, Iterator

import msgspec

from bench import load, machine
from bench.targets import Running, Unavailable, first_answer

WARM_UP_S = 2
# For one that has answered before.
AGAIN_WITHIN_S = 20


class Figures(msgspec.Struct, frozen=True):
    """Medians of one target at one number of connections, with the lowest and highest rate seen."""

    target: str
    connections: int
    rounds: int
    per_s: float
    per_s_low: float
    per_s_high: float
    p50_us: float
    p99_us: float
    added_p50_us: float
    added_p99_us: float
    cpu_us_per_request: float
    serving_cpu_us_per_request: float
    failed: int


class Weight(msgspec.Struct, frozen=True):
    """What a target weighs: seconds to its first answer, PSS of each serving process, of its whole tree (MB)."""

    target: str
    cold_start_s: float
    serving_mb: list[float]
    whole_mb: float


def rounds(
    targets: list[Running],
    connections: list[int],
    count: int,
    seconds: int,
    say: Callable[[str], None],
    lost: dict[str, str],
) -> Iterator[tuple[str, load.Point]]:
    """Measure ``count`` rounds; all targets but the one under load are stopped meanwhile.

    A target that no longer answers is left out from then on, with the reason in ``lost``; its earlier points count.
    """
    for target in targets:
        machine.pause(target.pids)
    for number in range(1, count + 1):
        for width in connections:
            for target in [each for each in targets if each.name not in lost]:
                machine.resume(target.pids)
                try:
                    point = _point(target, width, seconds)
                except (Unavailable, load.Lost) as reason:
                    lost[target.name] = f"lost in round {number} at {width} connections: {reason}"
                    say(f"{target.name} is left out from here on: {reason}")
                    continue
                finally:
                    machine.pause(target.pids)
                say(
                    f"round {number}/{count}  {width:>3} connections  {target.name:<16} {point.per_s:>9.0f}/s"
                    f"  p50 {point.p50_us / 1000:8.2f} ms  p99 {point.p99_us / 1000:8.2f} ms  failed {point.failed}"
                )
                yield target.name, point


def _point(target: Running, connections: int, seconds: int) -> load.Point:
    # One that was stopped for a while first notices that its clocks and connections are stale.
    first_answer(target.url, target.headers, target.body, AGAIN_WITHIN_S)
    load.run(target.url, target.headers, target.body, connections, WARM_UP_S)
    before, before_serving = machine.cpu_s(target.pids), machine.cpu_s(target.serving)
    point = load.run(target.url, target.headers, target.body, connections, seconds)
    each_us = 1e6 / max(point.requests, 1)
    return msgspec.structs.replace(
        point,
        cpu_us_per_request=each_us * (machine.cpu_s(target.pids) - before),
        serving_cpu_us_per_request=each_us * (machine.cpu_s(target.serving) - before_serving),
    )


def medians(points: list[tuple[str, load.Point]]) -> list[Figures]:
    """One row per target and number of connections, in the order they were first measured."""
    groups: dict[tuple[str, int], list[load.Point]] = {}
    for name, point in points:
        groups.setdefault((name, point.connections), []).append(point)
    floor = {width: group for (name, width), group in groups.items() if name == "direct"}
    return [_figures(name, width, group, floor.get(width)) for (name, width), group in groups.items()]


def _figures(name: str, width: int, group: list[load.Point], floor: list[load.Point] | None) -> Figures:
    p50, p99 = _median(group, "p50_us"), _median(group, "p99_us")
    return Figures(
        target=name,
        connections=width,
        rounds=len(group),
        per_s=_median(group, "per_s"),
        per_s_low=min(point.per_s for point in group),
        per_s_high=max(point.per_s for point in group),
        p50_us=p50,
        p99_us=p99,
        added_p50_us=p50 - _median(floor, "p50_us") if floor else 0.0,
        added_p99_us=p99 - _median(floor, "p99_us") if floor else 0.0,
        cpu_us_per_request=_median(group, "cpu_us_per_request"),
        serving_cpu_us_per_request=_median(group, "serving_cpu_us_per_request"),
        failed=sum(point.failed for point in group),
    )


def _median(points: list[load.Point], field: str) -> float:
    values: list[float] = [getattr(point, field) for point in points]
    return round(statistics.median(values), 1)


def weigh(target: Running) -> Weight:
    """Memory after the load, so with pools and caches filled."""
    whole = [process.pid for pid in target.pids for process in machine.tree(pid)]
    return Weight(
        target.name,
        round(target.cold_start_s, 2),
        [machine.memory_mb(pid) for pid in target.serving],
        round(sum(machine.memory_mb(pid) for pid in whole), 1),
    )
