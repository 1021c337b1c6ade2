"""The machine: which core does what, what a process tree weighs, and what is written beside each figure.

Core 0 makes the load and answers as the upstream; core 1 carries all of the system under test, its stores included.
"""

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

LOAD_CORE = 0
SYSTEM_CORE = 1


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes started inside are pinned to ``core``: a child inherits its parent's affinity."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants that still live."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory_mb(pid: int) -> float:
    """Proportional set size of one process in MB (pages shared by n processes count 1/n); 0 where it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def cpu_s(pids: list[int]) -> float:
    """CPU seconds, user and system, that the process trees have used so far."""
    total = 0.0
    for pid in pids:
        for process in tree(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
    return total


def pause(pids: list[int]) -> None:
    """Stop the trees (SIGSTOP), so that a target's idle work does not disturb the one being measured."""
    _signal(pids, signal.SIGSTOP)


def resume(pids: list[int]) -> None:
    """Let the trees go on."""
    _signal(pids, signal.SIGCONT)


def end(pids: list[int], grace_s: float = 5) -> None:
    """SIGTERM to the roots, SIGKILL to what is left of their trees after the grace."""
    whole = [process for pid in pids for process in tree(pid)]
    resume(pids)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(whole, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        for process in tree(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def load() -> float:
    """The load average of the last minute: figures taken beside other work are not figures."""
    return os.getloadavg()[0]


def describe() -> dict[str, str | int | float]:
    """What a reader must know to judge the figures."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    commit = ""
    if shutil.which("git"):
        revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        commit = revision.stdout.strip()
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 0,
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit,
        "load_average_before": round(os.getloadavg()[0], 2),
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
