"""``python -m bench``: measure us and our peers, print ratios first, keep the JSON in ``bench/results``.

The JSON is written after every point, and what was measured is printed however the run ends.
"""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

import msgspec

from bench import load, machine, measure, peers, report, steps, upstream
from bench.missing import require_programs
from bench.ours import Ours
from bench.targets import Running, Target, Unavailable
from router.errors import Refusal
from store.faults import CannotStart
from store.postgres import STORE_FAULTS
from store.redis_client import RedisUnavailable

# What the pipeline meets where a store or the stub of the steps has gone.
STORE_ENDED = (Refusal, CannotStart, RedisUnavailable, *STORE_FAULTS)
OUT = Path(__file__).with_name("out")

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (peers.Direct(), peers.Nginx(), peers.LiteLLM(), peers.Portkey(), Ours("commit"), Ours("memory"))
}


def main() -> int:
    options = _options()
    require_programs(("wrk", "nginx", "taskset"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    measured = [] if options.no_steps else _steps()
    for encoding in options.encodings:
        measuring = Measuring(encoding, options, measured)
        try:
            measuring.run()
        finally:
            # Whatever ended it: what was measured until then is there.
            print("\n".join(report.lines(measuring.result)), flush=True)
    return 0


def _steps() -> list[steps.Step]:
    try:
        measured = steps.measure()
    except STORE_ENDED as reason:
        _say(f"the microseconds per step are left out: {type(reason).__name__}: {reason}")
        return []
    print("\n".join(steps.lines(measured)), flush=True)
    return measured


class Measuring:
    """One encoding. ``result`` has what is known so far, and is kept after each point."""

    def __init__(self, encoding: str, options: argparse.Namespace, measured: list[steps.Step]) -> None:
        self.result = report.Result(encoding, options.seconds, machine.describe(), [], [], {}, measured, finished=False)
        self._options = options
        self._running: list[Running] = []

    def run(self) -> None:
        """Start every target, measure the rounds, weigh, and end them all."""
        encoding, options = self.result.encoding, self._options
        stub = upstream.start(_fresh(f"upstream-{encoding}"))
        try:
            for name in options.targets:
                self._start(name, stub)
            points: list[tuple[str, load.Point]] = []
            lost = self.result.left_out
            for point in measure.rounds(
                self._running, options.connections, options.rounds, options.seconds, _say, lost
            ):
                points.append(point)
                self._learn(figures=measure.medians(points))
            for started in self._running:
                machine.resume(started.pids)
            self._learn(weights=[measure.weigh(started) for started in self._running if started.serving], finished=True)
            if options.keep:
                print(f"kept as {report.keep(self.result)}")
        finally:
            for started in self._running:
                machine.resume(started.pids)
                started.stop()
            stub.stop()

    def _start(self, name: str, stub: upstream.Upstream) -> None:
        encoding = self.result.encoding
        try:
            started = TARGETS[name].start(stub, encoding, _fresh(f"{name}-{encoding}"))
        except Unavailable as reason:
            self.result.left_out[name] = str(reason)
            _say(f"{name} is left out: {reason}")
            return
        machine.pause(started.pids)
        self._running.append(started)
        _say(f"{name} answers after {started.cold_start_s:.2f} s")

    def _learn(self, **fields: object) -> None:
        self.result = msgspec.structs.replace(self.result, **fields)
        if self._options.keep:
            report.keep(self.result)


def _fresh(name: str) -> Path:
    folder = OUT / f"run-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--encodings", nargs="+", choices=["float", "base64"], default=["float", "base64"])
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8, help="per point")
    parser.add_argument("--no-steps", action="store_true", help="leave out the microseconds per step")
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True, help="write the JSON")
    return parser.parse_args()


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
