"""``python -m bench``: measure us and our peers, print ratios first, keep the JSON in ``bench/results``."""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

import msgspec

from bench import machine, measure, peers, report, steps, upstream
from bench.ours import Ours
from bench.targets import Running, Target, Unavailable

OUT = Path(__file__).with_name("out")

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (peers.Direct(), peers.Nginx(), peers.LiteLLM(), peers.Portkey(), Ours("commit"), Ours("memory"))
}


def main() -> int:
    options = _options()
    for tool, package in (("wrk", "wrk"), ("nginx", "nginx-light"), ("taskset", "util-linux")):
        if shutil.which(tool) is None:
            print(f"{tool} is missing: apt-get install {package}", file=sys.stderr)
            return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    measured = [] if options.no_steps else steps.measure()
    if measured:
        print("\n".join(steps.lines(measured)), flush=True)
    for encoding in options.encodings:
        result = msgspec.structs.replace(_measure(options, encoding), steps=measured)
        if options.keep:
            print(f"kept as {report.keep(result)}")
        print("\n".join(report.lines(result)), flush=True)
    return 0


def _measure(options: argparse.Namespace, encoding: str) -> report.Result:
    about = machine.describe()
    stub = upstream.start(_fresh(f"upstream-{encoding}"))
    running: list[Running] = []
    left_out: dict[str, str] = {}
    try:
        for name in options.targets:
            try:
                started = TARGETS[name].start(stub, encoding, _fresh(f"{name}-{encoding}"))
            except Unavailable as reason:
                left_out[name] = str(reason)
                _say(f"{name} is left out: {reason}")
                continue
            machine.pause(started.pids)
            running.append(started)
            _say(f"{name} answers after {started.cold_start_s:.2f} s")
        points = list(measure.rounds(running, options.connections, options.rounds, options.seconds, _say))
        for started in running:
            machine.resume(started.pids)
        weights = [measure.weigh(started) for started in running if started.serving]
        return report.Result(encoding, options.seconds, about, measure.medians(points), weights, left_out)
    finally:
        for started in running:
            machine.resume(started.pids)
            started.stop()
        stub.stop()


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
