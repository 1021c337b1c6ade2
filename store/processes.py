"""Starts child processes that do not outlive us, and ends those of an earlier run that did. Knows no program by name.

A child runs in a session of its own, so that Ctrl-C reaches its parent alone, which then ends its children in order. On
Linux the kernel signals the child when its parent dies, ``kill -9`` included.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import psutil

PR_SET_PDEATHSIG = 1
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
LOG_BYTES_MAX = 16 * 1024 * 1024
_OLD = ".old.log"


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back the signals that end a process, in this thread, until the block is over.

    ``self._child = spawn(…)`` belongs in it: a signal's exception between fork and assignment would leave a child that
    nobody knows of, and so nobody ends.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _before_exec(parent: int, with_signal: signal.Signals) -> Callable[[], None]:
    """What a child runs between fork and exec. Only Linux will tell it of its parent's death."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def request_signal() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        if libc is None:
            return
        libc.prctl(PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl, and no signal will come
            os._exit(1)

    return request_signal


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    end_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child that gets ``end_signal`` when this process dies; its output is appended to ``log``.

    Call it from the main thread: the kernel watches the thread that forked, not the process.
    """
    with _log_file(log) as out:
        return subprocess.Popen(  # noqa: S603 - no shell, and argv is ours
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if environment is None else dict(environment),
            start_new_session=True,
            preexec_fn=_before_exec(os.getpid(), end_signal),  # noqa: PLW1509 - two system calls run in it
        )


def _log_file(log: Path) -> BinaryIO:
    """The log to append to; where there is no room for it, none: what runs is worth more than what it writes."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(_OLD))
        return log.open("ab")
    except OSError:
        return open(os.devnull, "ab")


def limit_log(log: Path) -> None:
    """Empty a log that has grown too large while its process writes on; what was in it is in ``….old.log``.

    A child's log is opened to append, so it goes on at the new end; a line that comes in between is lost, and all of it
    where the disk has no room for a copy.
    """
    if log.name.endswith(_OLD) or not log.exists() or log.stat().st_size <= LOG_BYTES_MAX:
        return
    with suppress(OSError):
        shutil.copyfile(log, log.with_suffix(_OLD))
    os.truncate(log, 0)


def stop(child: subprocess.Popen[bytes], with_signals: Sequence[signal.Signals], *, each_s: float) -> int:
    """Send each signal until the child ends, SIGKILL last. Returns its exit code."""
    for number in with_signals:
        if child.poll() is not None:
            break
        with suppress(ProcessLookupError):
            child.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(each_s)
    if child.poll() is None:
        child.kill()
    return child.wait()


def processes_in(folder: Path, names: Iterable[str]) -> list[psutil.Process]:
    """The processes of these names whose working directory is ``folder``: database servers change into their data."""
    names = frozenset(names)
    processes = []
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error, OSError):
            if process.info["name"] in names and Path(process.cwd()) == folder.resolve():
                processes.append(process)
    return processes


def end_orphans(processes: Sequence[psutil.Process], *, soft: signal.Signals, within_s: float) -> None:
    """End processes that are not our children: signal, wait, kill. It is no error if one has ended already."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(soft)
    alive = _alive_after(processes, within_s)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _alive_after(alive, within_s)


def _alive_after(processes: Sequence[psutil.Process], within_s: float) -> list[psutil.Process]:
    """The processes that still run. A zombie does not: in a container it may never be reaped."""
    deadline = time.monotonic() + within_s
    while (alive := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log, for the sentence that says why its writer ended."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    return ""
