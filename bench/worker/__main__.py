"""``python -m bench.worker``: one run of everything, ratios first, JSON kept in ``bench/results`` with ``--keep``."""

import argparse
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench import machine
from bench.report import RESULTS
from bench.worker import measure, model
from bench.worker.contenders import Contender, Ours, Peer, Unavailable, closing, infinity_python

OUT = Path(__file__).parents[1] / "out" / "worker"
# What the project promises of the skewed mix, by wall time; of equal lengths, not to be slower.
GOALS = {"sentence-transformers": 5.0, "infinity": 3.0}
LATENCY_GOAL = 3.0


class Result(msgspec.Struct, frozen=True):
    """One whole run."""

    machine: dict[str, str | int | float]
    settings: dict[str, str | int]
    rates: list[measure.Rate]
    latencies: list[measure.Latency]
    invariance: list[measure.Invariance]
    padding: measure.Padding | None
    scaling: list[measure.Scaling]


def main() -> int:
    options = _options()
    OUT.mkdir(parents=True, exist_ok=True)
    result = _measure(options, model.folder_at(OUT / "f2llm-v2-80m-random"))
    if options.keep:
        instant = str(result.machine["measured_at"]).replace(":", "").replace("-", "")
        RESULTS.mkdir(exist_ok=True)
        kept = RESULTS / f"{instant}-worker.json"
        kept.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
        print(f"kept as {kept}")
    print("\n".join(_lines(result)))
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


def _measure(options: argparse.Namespace, folder: Path) -> Result:
    about = machine.describe()
    settings: dict[str, str | int] = {
        "texts": options.texts,
        "batch_size_of_peers": options.batch_size,
        "threads": options.threads,
        "rounds": options.rounds,
        "sentence_transformers": version("sentence-transformers"),
        "torch": version("torch"),
    }
    rates: list[measure.Rate] = []
    latencies: list[measure.Latency] = []
    invariance: list[measure.Invariance] = []
    scaling: list[measure.Scaling] = []
    padding = None
    threads = ("--threads", str(options.threads))
    ours = Ours(folder, arguments=threads)
    with closing([ours]):
        if "rates" in options.parts:
            rates = _rates(options, folder, ours)
        if "latency" in options.parts:
            latencies = [measure.latency(ours, lane, 512, 300) for lane in ("batch", "interactive")]
        if "invariance" in options.parts:
            invariance.append(measure.invariance(ours, "float32", 40))
        padding = measure.Padding(ours.counter("tokens_total"), ours.counter("filler_tokens_total"))
    if "invariance" in options.parts:
        half = Ours(folder, dtype="bfloat16", arguments=threads)
        with closing([half]):
            invariance.append(measure.invariance(half, "bfloat16", 40))
    if "ray" in options.parts:
        scaling = measure.scaling(folder, os.cpu_count() or 1, callers=12, requests=60)
    return Result(about, settings, rates, latencies, invariance, padding, scaling)


def _rates(options: argparse.Namespace, folder: Path, ours: Ours) -> list[measure.Rate]:
    contenders: list[Contender] = [ours]
    peers: list[Contender] = []
    size, threads = options.batch_size, options.threads
    with closing(peers):
        peers.append(Peer("sentence-transformers", sys.executable, "sentence-transformers", folder, size, threads, OUT))
        try:
            peers.append(Peer("infinity", infinity_python(options.infinity), "infinity", folder, size, threads, OUT))
        except Unavailable as reason:
            _say(f"infinity is left out: {reason}")
        # No padding either: what a user gets who knows that a batch only costs on a CPU.
        one = Peer("sentence-transformers, batch 1", sys.executable, "sentence-transformers", folder, 1, threads, OUT)
        peers.append(one)
        contenders += peers
        skewed = model.skewed_lengths(options.texts)
        found = measure.rates("skewed", skewed, contenders, options.rounds, _say)
        return found + measure.rates("equal", [128] * 32, contenders, options.rounds, _say)


def _lines(result: Result) -> Iterator[str]:
    by_name = {(rate.mix, rate.name): rate for rate in result.rates}
    yield "\n# ratios: ours / peer, tokens per second by wall time and by CPU time"
    for (mix, name), peer in by_name.items():
        if name != "ours":
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
