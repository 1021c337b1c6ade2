"""Runs groups of steps, each in a process of its own, and writes what they say as they say it.

A step that takes too long is ended with its process; what it had told is kept, it counts as failed, and the rest of
its group goes on in a new process. So does the rest of a group whose process died or lost its device.
"""

import contextlib
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import machine
from bench.gpu.plan import START_LIMIT_S, STEP_TIME_MIN_S, Group, without
from bench.gpu.records import Record, State, line, parse
from bench.gpu.report import page

# After its limit a step gets this long to notice by itself.
GRACE_S = 10.0
# So long before the end of all a process should be done by itself.
CLOSING_S = 5.0
# The end of a process's log that is kept as the reason of its failure.
LOG_TAIL = 800

Command = Callable[[Group, float], list[str]]


class Results:
    """The files of a run: each record is appended at once, and the page is written anew."""

    def __init__(self, folder: Path, rents: Sequence[float] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.records: list[Record] = []
        self.lines = folder / "results.jsonl"
        self.page = folder / "results.md"
        self._rents = rents
        self.lines.write_bytes(b"")

    def add(self, record: Record) -> None:
        """Keep one."""
        self.records.append(record)
        with self.lines.open("ab") as file:
            file.write(line(record))
        self.page.write_text(page(self.records, self._rents))


class Supervisor:
    """``command`` gives the process for a group and the seconds it has; ``end`` is when all must be over."""

    def __init__(self, results: Results, command: Command, log: Path, end: float, say: Callable[[str], None]) -> None:
        self._results = results
        self._command = command
        self._log = log
        self._end = end
        self._say = say

    def run(self, group: Group) -> None:
        """All steps of the group; each ends as done, failed or skipped."""
        while group.steps:
            left = self._end - time.monotonic()
            if left < STEP_TIME_MIN_S:
                self._end_all(group, "skipped", "the time is over")
                return
            ended, failure = self._run_process(group, left)
            group = without(group, ended)
            if failure and not ended:
                self._end_all(group, "failed", failure)
                return

    def _run_process(self, group: Group, seconds: float) -> tuple[set[str], str]:
        """The names of the steps that ended, and why the process failed, if it did."""
        with self._log.open("ab") as log:
            start = log.tell()
            process = subprocess.Popen(self._command(group, seconds - CLOSING_S), stdout=subprocess.PIPE, stderr=log)
            said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            reader = threading.Thread(target=_read, args=(process, said), daemon=True)
            reader.start()
            try:
                ended, running, late = self._follow(said, group)
                if not late:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(GRACE_S)
            finally:
                # Its descendants too; whoever waits for the process after this is told 0.
                code = process.poll()
                machine.end([process.pid], grace_s=3)
                process.wait()
                # Nobody writes any more, so that the reader is at its end and lets the pipe go.
                reader.join(GRACE_S)
        failure = late or (f"the process ended with {code}: {self._tail(start)}" if code else "")
        if running and running not in ended:
            ended.add(running)
            self._record(
                Record("end", group.size, running, state="failed", reason=failure or "the process ended early")
            )
        if not failure and len(ended) < len(group.steps):
            failure = "the process ended early"
        return ended, failure

    def _follow(self, said: "queue.SimpleQueue[bytes | None]", group: Group) -> tuple[set[str], str, str]:
        """Keep what the process says until it ends or is late: the steps that ended, the one that runs, the delay."""
        limits = dict(group.steps)
        ended: set[str] = set()
        running, began, limit = "", time.monotonic(), START_LIMIT_S
        while True:
            due = min(self._end, began + limit + GRACE_S)
            try:
                text = said.get(timeout=max(0.01, due - time.monotonic()))
            except queue.Empty:
                seconds = time.monotonic() - began
                return ended, running, f"ended after {seconds:.0f} s: it had {limit:.0f} s"
            if text is None:
                return ended, running, ""
            record = parse(text)
            if record is None:
                continue
            self._record(record)
            if record.kind == "begin":
                running, began, limit = record.step, time.monotonic(), limits.get(record.step, START_LIMIT_S)
            elif record.kind == "end":
                ended.add(record.step)
                running, began, limit = "", time.monotonic(), START_LIMIT_S

    def _end_all(self, group: Group, state: State, reason: str) -> None:
        for name, _ in group.steps:
            self._record(Record("end", group.size, name, state=state, reason=reason))

    def _record(self, record: Record) -> None:
        self._results.add(record)
        if record.kind == "figure":
            self._say(f"{record.size:<5} {record.step:<12} {record.name}: {record.values}")
        elif record.kind == "end":
            self._say(f"{record.size:<5} {record.step:<12} {record.state} in {record.seconds:.1f} s {record.reason}")

    def _tail(self, start: int) -> str:
        with self._log.open("rb") as log:
            log.seek(start)
            return log.read()[-LOG_TAIL:].decode(errors="replace").strip()


def _read(process: "subprocess.Popen[bytes]", said: "queue.SimpleQueue[bytes | None]") -> None:
    assert process.stdout is not None
    with process.stdout as output:
        for text in output:
            said.put(text)
    said.put(None)
