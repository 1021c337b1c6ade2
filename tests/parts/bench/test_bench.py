"""The benches start, say what they lack, and keep what they measured when something that they measure disappears."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import __main__ as bench
from bench import machine, peers, report
from tests.harness.processes import ROOT

RUNNABLE = ("bench", "bench.clients", "bench.worker", "bench.gpu", "bench.routing", "bench.spaces")

NO_INFINITY = "bench.worker --infinity /nowhere/infinity"
STARTS = (*(f"{module} --help" for module in RUNNABLE), NO_INFINITY)
# What `python -m` does, for each line with a module and its arguments; what is wrong with one is its own.
START_ALL = """
import io, json, runpy, sys, traceback
from contextlib import redirect_stderr, redirect_stdout
ends = {}
for line in sys.argv[1:]:
    out, err, code = io.StringIO(), io.StringIO(), 0
    module, *arguments = line.split()
    sys.argv = [module, *arguments]
    with redirect_stdout(out), redirect_stderr(err):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
    ends[line] = {"code": code or 0, "stdout": out.getvalue(), "stderr": err.getvalue()}
print(json.dumps(ends))
"""


class Started(msgspec.Struct):
    """What a bench printed and how it ended."""

    code: int
    stdout: str
    stderr: str


def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.fixture(scope="module")
def started() -> dict[str, Started]:
    """Each of STARTS, one after the other in one process: torch takes 5 s to import, and three need it."""
    ended = subprocess.run(
        [sys.executable, "-c", START_ALL, *STARTS], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    return msgspec.json.decode(ended.stdout, type=dict[str, Started])


@pytest.mark.parametrize("module", RUNNABLE)
def test_a_bench_can_be_started_at_all(module: str, started: dict[str, Started]) -> None:
    shown = started[f"{module} --help"]
    assert shown.code == 0, shown.stderr
    assert f"python -m {module}" in shown.stdout


@pytest.mark.parametrize(
    ("module", "packages"),
    [
        ("bench", "wrk nginx-light util-linux"),
        ("bench.clients", "nginx-light wrk util-linux"),
        ("bench.steps", "nginx"),
    ],
)
def test_a_program_that_is_missing_is_one_sentence_with_its_package(module: str, packages: str, tmp_path: Path) -> None:
    lacking = run(module, PATH=str(tmp_path))
    assert lacking.returncode == 2
    assert f"missing: apt-get install {packages}" in lacking.stderr
    assert lacking.stderr.count("\n") == 1, lacking.stderr


@pytest.mark.parametrize(
    ("module", "lacks"), [("bench.worker", "tokenizers"), ("bench.spaces", "sentence_transformers")]
)
def test_a_library_that_is_missing_is_one_sentence(module: str, lacks: str, tmp_path: Path) -> None:
    blocker = f"import sys; sys.modules['{lacks}'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(blocker)
    lacking = run(module, PYTHONPATH=str(tmp_path))
    assert lacking.returncode == 2, lacking.stderr
    assert lacking.stderr.startswith(f"{lacks} is missing: ")
    assert lacking.stderr.count("\n") == 1


def test_a_peer_of_the_worker_that_is_missing_is_told_before_anything_is_measured(
    started: dict[str, Started], tmp_path: Path
) -> None:
    lacking = started[NO_INFINITY]
    assert lacking.code == 2, lacking.stderr
    assert lacking.stderr.startswith("infinity is missing: python -m venv ")
    assert "pip install 'infinity-emb[torch]==" in lacking.stderr
    assert lacking.stderr.count("\n") == 1
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['sentence_transformers'] = None\n")
    without = run("bench.worker", PYTHONPATH=str(tmp_path))
    assert without.stderr.startswith("sentence_transformers is missing: ")
    assert lacking.stderr.count("\n") == 1


# The bench knows its children by their pids alone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not (shutil.which("wrk") and shutil.which("nginx")), reason="wrk and nginx make the load")
def test_a_target_that_disappears_leaves_the_others_measured_and_its_own_figures_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(bench, "OUT", tmp_path / "out")
    monkeypatch.setattr("bench.measure.AGAIN_WITHIN_S", 0.5)
    monkeypatch.setattr("bench.measure.WARM_UP_S", 1)
    options = argparse.Namespace(targets=["direct", "nginx"], connections=[1], rounds=2, seconds=1, keep=True)
    measuring = bench.Measuring("float", options, [])
    kept: list[dict[str, Any]] = []
    write = report.keep

    def keep(result: report.Result) -> Path:
        path = write(result)
        kept.append(json.loads(path.read_bytes()))
        if len(kept) == 2:  # both have their first point
            nginx = next(one for one in measuring._running if one.name == peers.Nginx.name)
            for process in machine.tree(nginx.pids[0]):
                process.send_signal(signal.SIGKILL)
        return path

    monkeypatch.setattr(report, "keep", keep)
    measuring.run()
    assert [len(one["figures"]) for one in kept[:2]] == [1, 2], "written as they come"
    rounds = {row["target"]: row["rounds"] for row in kept[-1]["figures"]}
    assert rounds == {"direct": 2, "nginx": 1}
    assert kept[-1]["left_out"]["nginx"].startswith("lost in round 2 at 1 connections")
    assert [one["finished"] for one in kept[-2:]] == [True, True]
    assert not kept[0]["finished"]
    text = "\n".join(report.lines(measuring.result))
    assert "left out: nginx: lost in round 2" in text


def test_what_a_process_weighs_that_has_ended_is_nothing() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert machine.memory_mb(ended.pid) == 0.0
    assert machine.tree(ended.pid) == []
    assert machine.cpu_s([ended.pid]) == 0.0
