"""``python -m bench.gpu``: everything in one run; see ``bench/README.md``. Imports no torch: its processes do."""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import machine
from bench.gpu.plan import PLANS, Group
from bench.gpu.records import RUN, Record
from bench.gpu.supervisor import Results, Supervisor
from bench.missing import require_modules

OUT = Path(__file__).parents[1] / "out" / "gpu"
RESULTS = Path(__file__).parents[1] / "results"
# Three models in bfloat16 are 12 GB; memory is the fastest place for them.
SCRATCH_BYTES = 16 << 30
MEMORY = Path("/dev/shm")


def main(argv: list[str] | None = None) -> int:
    """Run the plan and write the results. Returns 1 where a step failed, 0 otherwise, whatever the figures are."""
    options = _options(argv)
    require_modules(("torch", "transformers"))
    end = time.monotonic() + 60 * options.minutes
    results = Results(options.out, options.rents)
    about = machine.describe()
    results.add(
        Record("figure", RUN, RUN, name="machine", values={**about, "commit": options.commit or about["commit"]})
    )
    groups = [_select(group, options) for group in PLANS[options.shape].groups]
    with _scratch(options.scratch) as scratch:

        def command(group: Group, seconds: float) -> list[str]:
            steps = [f"{name}={limit}" for name, limit in group.steps]
            settings = ["--shape", options.shape, "--size", group.size, "--device", options.device]
            settings += ["--scratch", str(scratch), "--seconds", f"{seconds:.0f}", "--threads", str(options.threads)]
            return [sys.executable, "-m", "bench.gpu.child", *settings, *steps]

        supervisor = Supervisor(results, command, options.out / "log.txt", end, _say)
        for group in groups:
            supervisor.run(group)
    if options.keep:
        _keep(results, str(about["measured_at"]))
    print(results.page.read_text(), flush=True)
    return int(any(record.state == "failed" for record in results.records))


def _select(group: Group, options: argparse.Namespace) -> Group:
    if options.sizes and group.size not in options.sizes:
        return Group(group.size, ())
    chosen = (step for step in group.steps if not options.steps or step[0] in options.steps)
    return Group(group.size, tuple(chosen))


@contextmanager
def _scratch(chosen: Path | None) -> Iterator[Path]:
    """Where the models lie while the run lasts."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > SCRATCH_BYTES
    parent = chosen or (MEMORY if roomy else None)
    with tempfile.TemporaryDirectory(prefix="gigarouter-gpu-", dir=parent) as folder:
        yield Path(folder)


def _keep(results: Results, measured_at: str) -> None:
    instant = measured_at.replace(":", "").replace("-", "")
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / f"{instant}-gpu.jsonl"
    shutil.copyfile(results.lines, kept)
    _say(f"kept as {kept}")


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="The worker on a GPU, in one run.")
    parser.add_argument("--device", default="cuda:0", help="cuda:0, …, or cpu with --shape tiny")
    parser.add_argument("--shape", choices=list(PLANS), default="family")
    parser.add_argument("--minutes", type=float, default=9.0, help="when all must be over")
    parser.add_argument("--steps", nargs="+", default=[], help="these steps only")
    parser.add_argument("--sizes", nargs="+", default=[], help="these sizes only")
    parser.add_argument("--rents", nargs="+", type=float, default=[], help="dollars per hour; default: the roofline's")
    parser.add_argument("--commit", default="", help="what is measured, where no repository says it")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--scratch", type=Path, help="where models are written; default: memory, if there is room")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads on a CPU")
    parser.add_argument("--keep", action="store_true", help="copy the results into bench/results")
    return parser.parse_args(argv)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
