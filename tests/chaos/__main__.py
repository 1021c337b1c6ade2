"""``python -m tests.chaos --seed 7 --runs 20 --seconds 60``: run after run, each printed; stops at the first breach."""

import argparse
import random
import sys
import time

from tests.chaos.run import run
from tests.harness.simulation.silences import Silence, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first run; the next ones count on")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60, help="of load and faults, per run")
    parser.add_argument("--silences", type=int, default=3, help="simulated silences of each kind, before the runs")
    options = parser.parse_args()
    for seed in range(options.seed, options.seed + options.silences):
        for silence in Silence:
            duration_s = random.Random(f"{silence}{seed}").uniform(0, 60)
            simulated = simulate(silence, duration_s, seed)
            print(f"simulated {silence} for {duration_s:.1f} s, seed {seed}: {simulated}", flush=True)
            if simulated.breaches or simulated.overdraft:
                return 1
    for seed in range(options.seed, options.seed + options.runs):
        report = run(seed, options.seconds, say=lambda line: print(line, flush=True))
        print("\n".join(report.lines()), flush=True)
        if report.breaches:
            print(f"replay with: python -m tests.chaos --seed {seed} --seconds {options.seconds:g}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
