"""Every step of ``python -m bench.gpu`` on a CPU in the tiny shape, with only what a GPU machine has installed."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu.goals import goals
from bench.gpu.plan import ON_CPU, ON_GPU, Plan
from bench.gpu.records import RUN, Record, figure, figures, number, read
from tests.house.source import ROOT

WHEELS = ROOT / "bench" / "gpu" / "wheels.txt"
# What a bare machine with a GPU comes with; its own needs are there too.
GIVEN = ("torch", "transformers", "safetensors", "tokenizers", "numpy", "sentence-transformers")
HIDING = '''
"""Other distributions than those of a GPU machine are as good as not installed."""
import os, sys
from importlib.machinery import PathFinder

hidden = set(os.environ["HIDDEN_MODULES"].split(","))

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
'''


def carried() -> list[str]:
    """The names in wheels.txt."""
    lines = WHEELS.read_text().splitlines()
    return [line.partition("==")[0] for line in lines if line and not line.startswith("#")]


def with_needs(names: list[str]) -> set[str]:
    """The distributions and all that they require without extras, normalized."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in needs if "extra ==" not in need]
    return found


def hidden_modules() -> set[str]:
    """Importable names that only other distributions give."""
    there = with_needs(list(GIVEN)) | {re.sub(r"[-_.]+", "-", name) for name in carried()}
    offered = importlib.metadata.packages_distributions()
    return {
        module
        for module, distributions in offered.items()
        if not {re.sub(r"[-_.]+", "-", one).lower() for one in distributions} & (there | {"gigarouter"})
    }


def steps_of(plan: Plan) -> set[str]:
    return {name for group in plan.groups for name, _ in group.steps}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """One whole run, as a caller sees it."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "sitecustomize.py").write_text(HIDING)
    environment = os.environ | {"PYTHONPATH": str(folder), "HIDDEN_MODULES": ",".join(sorted(hidden_modules()))}
    command = [sys.executable, "-m", "bench.gpu", "--device", "cpu", "--shape", "tiny", "--minutes", "4"]
    command += ["--out", str(folder / "out"), "--scratch", str(folder), "--commit", "abc1234", "--rents", "2.0"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    found = read(folder / "out" / "results.jsonl")
    assert done.returncode == 0, done.stderr[-3000:] + (folder / "out" / "log.txt").read_text()[-3000:]
    assert done.stdout == (folder / "out" / "results.md").read_text() + "\n"
    assert "| tiny | http | done |" in done.stdout
    return found


def test_every_step_ran_to_its_end(records: list[Record]) -> None:
    ended = {record.step: record for record in records if record.kind == "end"}
    assert {step: record.reason for step, record in ended.items() if record.state != "done"} == {}
    assert set(ended) == steps_of(ON_CPU)
    assert all(any(figures(records, step, "tiny")) for step in ended)


def test_the_run_says_what_and_when_it_measured(records: list[Record]) -> None:
    machine = figure(records, RUN, RUN, "machine") or {}
    assert machine["commit"] == "abc1234"
    assert str(machine["measured_at"]).startswith("20")
    assert number(figure(records, "card", "tiny", "peak"), "tflops")


def test_faults_are_survived_as_promised(records: list[Record]) -> None:
    wanted = ("out of memory", "device assert", "SIGTERM", "float32", "packed against alone")
    verdicts = {goal.promise: goal.reached for goal in goals(records) if goal.promise.startswith(wanted)}
    assert len(verdicts) == len(wanted)
    assert all(verdicts.values()), verdicts


def test_a_cpu_runs_every_step_that_a_gpu_runs() -> None:
    assert steps_of(ON_CPU) == steps_of(ON_GPU)


def test_wheels_are_pinned_to_what_the_tests_run_on() -> None:
    for line in WHEELS.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            assert importlib.metadata.version(name) == version, line


def test_what_a_gpu_machine_lacks_is_hidden_indeed(tmp_path: Path) -> None:
    assert {"fastapi", "sqlalchemy", "redis", "httpx2", "orjson"} <= hidden_modules()
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "HIDDEN_MODULES": "orjson"}
    program = "import msgspec\ntry: import orjson\nexcept ModuleNotFoundError: print('hidden')"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "hidden"
