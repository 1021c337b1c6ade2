"""``python -m tests.chaos --seed 7 --runs 20 --seconds 60``: run after run, each printed; stops at the first breach."""

import argparse
import sys
import time

from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first run; the next ones count on")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60, help="of load and faults, per run")
    options = parser.parse_args()
    for seed in range(options.seed, options.seed + options.runs):
        report = run(seed, options.seconds, say=lambda line: print(line, flush=True))
        print("\n".join(report.lines()), flush=True)
        if report.breaches:
            print(f"replay with: python -m tests.chaos --seed {seed} --seconds {options.seconds:g}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
