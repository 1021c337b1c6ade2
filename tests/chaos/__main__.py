"""``python -m tests.chaos``: every cell of the table, each with what was done and lost; exit code 1 on any loss.

``--cell 'freeze@serve/*'`` takes those alone whose name fits; with ``--seed`` a cell meets the same faults again.
``--storms`` runs long storms of all faults at once instead.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterable
from fnmatch import fnmatch

from tests.chaos.attacks import ATTACKS, Outcome, Venues
from tests.chaos.run import run
from tests.chaos.table import Cell, cells, reasons


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the cells, or of the first storm")
    parser.add_argument("--cell", default="*", help="names or patterns with *, by commas")
    parser.add_argument("--storms", type=int, default=0, help="so many storms of all faults at once, not the table")
    parser.add_argument("--seconds", type=float, default=60, help="of load and faults, per storm")
    options = parser.parse_args()
    # What cells have started ends with them, however that comes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.storms:
        return storms(range(options.seed, options.seed + options.storms), options.seconds)
    chosen = [cell for cell in cells() if any(fnmatch(cell.name, one) for one in options.cell.split(","))]
    if not chosen:
        parser.error(f"no cell is called {options.cell}; there are {', '.join(cell.name for cell in cells())}")
    return 1 if table(chosen, options.seed, with_reasons=options.cell == "*") else 0


def table(chosen: Iterable[Cell], seed: int, *, with_reasons: bool = False) -> dict[str, Outcome]:
    """Do each cell, whatever the others lost, then print the table; returns the cells with losses."""
    lost: dict[str, Outcome] = {}
    rows = [f"{'cell':<34} {'operations':>10} {'faults':>6} {'losses':>6} {'took':>6}  what is done"]
    done = operations = 0
    with Venues(seed, say) as venues:
        # Cells that share a venue follow each other; it is made once for all of them.
        for cell in sorted(chosen, key=lambda cell: list(ATTACKS).index(cell.attack)):
            began = time.monotonic()
            outcome = ATTACKS[cell.attack](cell, seed, venues)
            counts = f"{outcome.operations:>10} {outcome.faults:>6} {len(outcome.losses):>6}"
            took_s = time.monotonic() - began
            rows.append(f"{cell.name:<34} {counts} {took_s:>4.0f} s  {outcome.skipped or cell.measure}")
            say(rows[-1])
            done += not outcome.skipped
            operations += outcome.operations
            if outcome.losses:
                lost[cell.name] = outcome
                say("\n".join(f"    {loss}" for loss in outcome.losses))
                say(f"    replay with: make chaos SEED={seed} CELL={cell.name}")
        if losses := venues.close_up():
            lost["the end of `up`"] = Outcome(0, 0, losses)
            say("\n".join(losses))
    if with_reasons:
        rows += [f"{field:<34} no cell: {reason}" for field, reason in reasons()]
    total = sum(len(outcome.losses) for outcome in lost.values())
    say("\n".join(["", f"seed {seed}", *rows, f"{done} cells, {operations} operations, {total} losses"]))
    return lost


def storms(seeds: Iterable[int], seconds: float) -> int:
    """Storms of all faults at once, each printed; stops at the first breach."""
    for seed in seeds:
        report = run(seed, seconds, say)
        say("\n".join(report.lines()))
        if report.breaches:
            say(f"replay with: make chaos STORMS=1 SEED={seed} SECONDS={seconds:g}")
            return 1
    return 0


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
