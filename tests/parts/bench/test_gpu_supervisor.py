"""A run keeps what it had, whatever its processes do: they die, hang, lose the device, or write rubbish."""

import sys
import time
from pathlib import Path

from bench.gpu.plan import Group
from bench.gpu.records import Record, read
from bench.gpu.supervisor import Results, Supervisor

TELL = """
import sys, time, json, os
def tell(**fields): print(json.dumps({{"size": "tiny", **fields}}), flush=True)
def step(name):
    tell(kind="begin", step=name)
    tell(kind="figure", step=name, name="first", values={{"x": 1}})
def end(name): tell(kind="end", step=name, state="done", seconds=0.1)
steps = {steps!r}
for name in steps:
    step(name)
{body}
    end(name)
"""


def run(tmp_path: Path, body: str, *, seconds: float = 60, limit: float = 5) -> tuple[list[Record], list[list[str]]]:
    """The records of a run of three steps whose process does ``body`` inside each, and the steps of each process."""
    started: list[list[str]] = []

    def command(group: Group, seconds: float) -> list[str]:
        steps = [name for name, _ in group.steps]
        started.append(steps)
        return [sys.executable, "-c", TELL.format(steps=steps, body=body)]

    results = Results(tmp_path / "out")
    end = time.monotonic() + seconds
    supervisor = Supervisor(results, command, tmp_path / "log.txt", end, lambda text: None)
    supervisor.run(Group("tiny", (("a", limit), ("b", limit), ("c", limit))))
    assert read(results.lines) == results.records
    return results.records, started


def states(records: list[Record]) -> dict[str, str]:
    return {record.step: record.state for record in records if record.kind == "end"}


def test_a_process_that_dies_costs_its_step_alone(tmp_path: Path) -> None:
    records, started = run(tmp_path, "    if name == 'b': sys.exit('the device is gone')")
    assert states(records) == {"a": "done", "b": "failed", "c": "done"}
    [reason] = [record.reason for record in records if record.state == "failed"]
    assert "the device is gone" in reason
    assert started == [["a", "b", "c"], ["c"]]
    assert sum(record.kind == "figure" for record in records) == 3


def test_a_step_that_hangs_is_ended_and_the_rest_goes_on(tmp_path: Path) -> None:
    records, _ = run(tmp_path, "    if name == 'b': time.sleep(60)", limit=-9)
    assert states(records) == {"a": "done", "b": "failed", "c": "done"}
    assert "it had" in next(record.reason for record in records if record.state == "failed")


def test_a_failed_step_before_the_end_of_its_process_goes_on_in_a_new_one(tmp_path: Path) -> None:
    body = (
        "    if name == 'a':\n        tell(kind='end', step='a', state='failed', reason='assert')\n        os._exit(3)"
    )
    records, started = run(tmp_path, body)
    assert states(records) == {"a": "failed", "b": "done", "c": "done"}
    assert started == [["a", "b", "c"], ["b", "c"]]


def test_a_process_that_cannot_begin_fails_its_steps_and_is_not_tried_for_ever(tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    started: list[Group] = []

    def command(group: Group, seconds: float) -> list[str]:
        started.append(group)
        return [sys.executable, "-c", "import no_such_module"]

    supervisor = Supervisor(results, command, tmp_path / "log.txt", time.monotonic() + 60, lambda text: None)
    supervisor.run(Group("tiny", (("a", 5), ("b", 5))))
    assert states(results.records) == {"a": "failed", "b": "failed"}
    assert "no_such_module" in results.records[0].reason
    assert len(started) == 1


def test_rubbish_on_the_output_is_passed_over(tmp_path: Path) -> None:
    records, _ = run(tmp_path, "    print('a library says hello')")
    assert states(records) == dict.fromkeys("abc", "done")


def test_when_the_time_is_over_steps_are_skipped_and_what_there_was_is_on_the_page(tmp_path: Path) -> None:
    records, _ = run(tmp_path, "    if name == 'b': time.sleep(60)", seconds=9)
    assert states(records) == {"a": "done", "b": "failed", "c": "skipped"}
    text = (tmp_path / "out" / "results.md").read_text()
    assert "| tiny | c | skipped |" in text
    assert "| tiny | first | 1 |" in text
