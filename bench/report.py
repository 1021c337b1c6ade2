"""What is printed, ratios first, and what is kept as JSON."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.measure import Figures, Weight
from bench.steps import Step

RESULTS = Path(__file__).with_name("results")
PEERS = ("litellm", "portkey", "nginx")

# What the project promises: (peer, ours, the least ratio of rates, the most ratio of p50 at one connection).
GOALS = (
    ("litellm", "ours-commit", 30.0, 1 / 3),
    ("portkey", "ours-commit", 6.0, None),
    ("litellm", "ours-memory", 50.0, 1 / 10),
    ("portkey", "ours-memory", 10.0, None),
)
MEMORY_GOAL_MB = 120


class Result(msgspec.Struct, frozen=True):
    """One encoding's whole measurement."""

    encoding: str
    seconds_per_point: int
    machine: dict[str, str | int | float]
    figures: list[Figures]
    weights: list[Weight]
    left_out: dict[str, str]
    steps: list[Step] = []
    # False in what is kept while it is being measured.
    finished: bool = True


def keep(result: Result) -> Path:
    """Write the JSON, one file per encoding and instant; returns its path."""
    RESULTS.mkdir(exist_ok=True)
    instant = str(result.machine["measured_at"]).replace(":", "").replace("-", "")
    path = RESULTS / f"{instant}-{result.encoding}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return path


def lines(result: Result) -> Iterator[str]:
    """Ratios, goals, figures, weights: as text."""
    yield f"\n# answers as {result.encoding}: ratios (ours / peer)"
    yield from _ratios(result)
    yield "\n# goals"
    yield from _goals(result)
    yield "\n# figures: medians; one core for the system under test, its CPU per request and the serving process's part"
    yield (
        f"{'target':<16}{'conn':>5}{'req/s':>10}{'low':>9}{'high':>9}{'p50 ms':>10}{'p99 ms':>10}"
        f"{'+p50':>9}{'+p99':>9}{'cpu µs':>9}{'serving':>9}{'failed':>8}"
    )
    for row in result.figures:
        yield (
            f"{row.target:<16}{row.connections:>5}{row.per_s:>10.0f}{row.per_s_low:>9.0f}{row.per_s_high:>9.0f}"
            f"{row.p50_us / 1e3:>10.3f}{row.p99_us / 1e3:>10.3f}{row.added_p50_us / 1e3:>9.3f}"
            f"{row.added_p99_us / 1e3:>9.3f}{row.cpu_us_per_request:>9.0f}"
            f"{row.serving_cpu_us_per_request:>9.0f}{row.failed:>8}"
        )
    yield "\n# weights: seconds to the first answer; MB (PSS) of each serving process, and of the tree with its stores"
    for weight in result.weights:
        yield f"{weight.target:<16}{weight.cold_start_s:>8.2f} s  {weight.serving_mb}  {weight.whole_mb}"
    for name, reason in result.left_out.items():
        yield f"left out: {name}: {reason}"


def _ratios(result: Result) -> Iterator[str]:
    by_name = {(row.target, row.connections): row for row in result.figures}
    widths = sorted({row.connections for row in result.figures})
    for ours in sorted({row.target for row in result.figures if row.target.startswith("ours")}):
        for peer in PEERS:
            cells = []
            for width in widths:
                mine, theirs = by_name.get((ours, width)), by_name.get((peer, width))
                if mine and theirs and theirs.per_s and theirs.p50_us:
                    rate, p50 = mine.per_s / theirs.per_s, mine.p50_us / theirs.p50_us
                    cells.append(f"{width:>3} conn: {rate:7.2f}x req/s, {p50:6.3f}x p50")
            if cells:
                yield f"{ours:<12} / {peer:<8} " + " | ".join(cells)


def _goals(result: Result) -> Iterator[str]:
    by_name = {(row.target, row.connections): row for row in result.figures}
    widest = max((row.connections for row in result.figures), default=0)
    for peer, ours, least, most in GOALS:
        mine, theirs = by_name.get((ours, widest)), by_name.get((peer, widest))
        if mine and theirs and theirs.per_s:
            ratio = mine.per_s / theirs.per_s
            yield f"{_verdict(ratio >= least)} {ours} ≥ {least:g}x {peer} at {widest} connections: {ratio:.1f}x"
        one, other = by_name.get((ours, 1)), by_name.get((peer, 1))
        if most and one and other and other.p50_us:
            ratio = one.p50_us / other.p50_us
            yield f"{_verdict(ratio <= most)} {ours} p50 ≤ {most:.3f}x {peer} at one connection: {ratio:.3f}x"
    for weight in result.weights:
        if weight.target.startswith("ours"):
            largest = max(weight.serving_mb, default=0)
            verdict = _verdict(largest < MEMORY_GOAL_MB)
            yield f"{verdict} {weight.target} under {MEMORY_GOAL_MB} MB per process: {largest:g} MB"


def _verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED "
