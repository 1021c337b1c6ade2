"""``python -m bench.worker``: one run of everything, ratios first, JSON kept in ``bench/results`` with ``--keep``."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from bench import machine
from bench.missing import modules_required, require_modules
from bench.report import RESULTS

# Before torch is imported, which takes seconds.
require_modules(("sentence_transformers",))
with modules_required():
    from bench.worker import measure, model
    from bench.worker.contenders import LOST, Contender, Ours, Peer, Unavailable, closing, require_infinity

P = ParamSpec("P")
T = TypeVar("T")

OUT = Path(__file__).parents[1] / "out" / "worker"
# What the project promises of the skewed mix, by wall time; of equal lengths, not to be slower.
GOALS = {"sentence-transformers": 5.0, "infinity": 3.0}
LATENCY_GOAL = 3.0


class Result(msgspec.Struct):
    """All that one run has measured so far; kept as JSON after every part."""

    machine: dict[str, str | int | float]
    settings: dict[str, str | int]
    rates: list[measure.Rate] = []
    latencies: list[measure.Latency] = []
    invariance: list[measure.Invariance] = []
    padding: measure.Padding | None = None
    scaling: list[measure.Scaling] = []
    left_out: dict[str, str] = {}

    def keep(self) -> Path:
        """Write the JSON, one file per run."""
        RESULTS.mkdir(exist_ok=True)
        instant = str(self.machine["measured_at"]).replace(":", "").replace("-", "")
        kept = RESULTS / f"{instant}-worker.json"
        kept.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        return kept


def main() -> int:
    options = _options()
    _require_peers(options)
    OUT.mkdir(parents=True, exist_ok=True)
    result = Result(machine.describe(), _settings(options))
    try:
        for name, part in _parts(options, model.folder_at(OUT / "f2llm-v2-80m-random"), result):
            try:
                part()
            except LOST as reason:
                result.left_out[name] = f"{type(reason).__name__}: {str(reason)[-300:]}"
                _say(f"{name} is left out: {result.left_out[name]}")
            if options.keep:
                _say(f"kept as {result.keep()}")
    finally:
        print("\n".join(_lines(result)), flush=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.worker", description="The worker against its peers.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=64, help="texts of the skewed mix")
    parser.add_argument("--batch-size", type=int, default=32, help="of both peers; 32 is their default")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads of every contender")
    parser.add_argument("--parts", nargs="+", default=["rates", "latency", "invariance", "ray"])
    parser.add_argument("--infinity", type=Path, default=OUT / "infinity", help="infinity's own environment")
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def _require_peers(options: argparse.Namespace) -> None:
    """End at once where what a part measures against is not installed, rather than after minutes."""
    if "ray" in options.parts:
        require_modules(("ray",))
    if "rates" in options.parts:
        require_infinity(options.infinity)


def _settings(options: argparse.Namespace) -> dict[str, str | int]:
    return {
        "texts": options.texts,
        "batch_size_of_peers": options.batch_size,
        "threads": options.threads,
        "rounds": options.rounds,
        "sentence_transformers": version("sentence-transformers"),
        "torch": version("torch"),
    }


def _parts(options: argparse.Namespace, folder: Path, result: Result) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is measured, one after the other; the parts in one block share a process of ours."""
    threads = ("--threads", str(options.threads))
    ours = Ours(folder, arguments=threads)

    def padding() -> None:
        result.padding = measure.Padding(ours.counter("tokens_total"), ours.counter("filler_tokens_total"))

    with closing([ours]):
        if "rates" in options.parts:
            for mix, lengths in (("skewed", model.skewed_lengths(options.texts)), ("equal", [128] * 32)):
                yield f"rates, {mix}", partial(_rates, options, folder, ours, mix, lengths, result.rates)
        if "latency" in options.parts:
            for lane in ("batch", "interactive"):
                yield f"latency, {lane}", partial(_add, result.latencies, measure.latency, ours, lane, 512, 300)
        if "invariance" in options.parts:
            yield "invariance", partial(_add, result.invariance, measure.invariance, ours, "float32", 40)
        yield "padding", padding
    if "invariance" in options.parts:
        half = Ours(folder, dtype="bfloat16", arguments=threads)
        with closing([half]):
            yield "invariance, bfloat16", partial(_add, result.invariance, measure.invariance, half, "bfloat16", 40)
    if "ray" in options.parts:
        replicas = partial(measure.scaling, folder, os.cpu_count() or 1, callers=12, requests=60)
        yield "ray", lambda: result.scaling.extend(replicas())


def _add(found: list[T], figure: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> None:
    found.append(figure(*arguments, **named))


def _rates(
    options: argparse.Namespace, folder: Path, ours: Ours, mix: str, lengths: list[int], found: list[measure.Rate]
) -> None:
    contenders: list[Contender] = [ours]
    peers: list[Contender] = []
    size, threads = options.batch_size, options.threads
    with closing(peers):
        peers.append(Peer("sentence-transformers", sys.executable, "sentence-transformers", folder, size, threads, OUT))
        try:
            peers.append(Peer("infinity", require_infinity(options.infinity), "infinity", folder, size, threads, OUT))
        except Unavailable as reason:
            _say(f"infinity is left out: {reason}")
        # No padding either: what a user gets who knows that a batch only costs on a CPU.
        one = Peer("sentence-transformers, batch 1", sys.executable, "sentence-transformers", folder, 1, threads, OUT)
        peers.append(one)
        contenders += peers
        found += measure.rates(mix, lengths, contenders, options.rounds, _say)


def _lines(result: Result) -> Iterator[str]:
    by_name = {(rate.mix, rate.name): rate for rate in result.rates}
    for name, reason in result.left_out.items():
        yield f"left out: {name}: {reason}"
    yield "\n# ratios: ours / peer, tokens per second by wall time and by CPU time"
    for (mix, name), peer in by_name.items():
        if name != "ours" and (mix, "ours") in by_name:
            ours = by_name[mix, "ours"]
            goal = GOALS.get(name, 0.0) if mix == "skewed" else 1.0
            wall, cpu = ours.wall_rate / peer.wall_rate, ours.cpu_rate / peer.cpu_rate
            verdict = "" if name not in GOALS else f"   goal {goal:g}x: {'reached' if wall >= goal else 'NOT reached'}"
            yield f"{mix:<8}{name:<32}{wall:6.2f}x wall {cpu:6.2f}x cpu{verdict}"
    yield "\n# tokens per second: median of the rounds, lowest and highest; largest difference to sentence-transformers"
    for rate in result.rates:
        yield (
            f"{rate.mix:<8}{rate.name:<32}{rate.wall_rate:8.0f} wall ({rate.wall_rate_low:.0f} to "
            f"{rate.wall_rate_high:.0f}) {rate.cpu_rate:8.0f} per CPU second {rate.difference_max:10.1e}"
        )
    for one in result.latencies:
        ratio = one.busy_p99_ms / one.idle_p99_ms
        verdict = "reached" if ratio <= LATENCY_GOAL else "NOT reached"
        yield (
            f"\n# a lone short request beside a job of {one.texts} texts in the {one.lane} lane: p99 {ratio:.2f}x "
            f"idle, goal {LATENCY_GOAL:g}x: {verdict}\n"
            f"idle p50 {one.idle_p50_ms:.1f} ms, p99 {one.idle_p99_ms:.1f} ms, "
            f"busy p50 {one.busy_p50_ms:.1f} ms, p99 {one.busy_p99_ms:.1f} ms ({one.requests_busy} requests); "
            f"the job took {one.job_disturbed_s:.1f} s, {one.job_alone_s:.1f} s alone"
        )
    for row in result.invariance:
        yield f"\n# bits equal in any company, {row.dtype}: {row.equal} of {row.tried}"
    if result.padding:
        share = result.padding.filler / max(1.0, result.padding.tokens + result.padding.filler)
        yield f"\n# computed for nobody: {share:.3%} of {result.padding.tokens:.0f} tokens (lone texts under 16 tokens)"
    for scale in result.scaling:
        ratio = scale.wall_rate / result.scaling[0].wall_rate
        yield f"{scale.replicas} replica(s) of one core under Ray Serve: {scale.wall_rate:.0f} tokens/s, {ratio:.2f}x"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
