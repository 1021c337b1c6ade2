"""Supervises what `up` runs: starts it, restarts what died with growing pauses, and survives that there is no room.

Nothing here ends because something could not be written or started: a full or read-only disk, no file descriptors and
no memory for a child are said once, and tried again until they are over.
"""

import errno
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gigarouter.data_folder import DataFolder
from router.errors import StoreUnavailable
from store.embedded import Embedded
from store.faults import CannotStart, Killed, Unavailable
from store.postgres import STORE_FAULTS
from store.processes import limit_log, spawn, stop, tail, uninterrupted

T = TypeVar("T")

PAUSE_FIRST_S = 0.5
# Whatever was missing, service is back so many seconds after it is there.
PAUSE_MAX_S = 5.0
# A child that lived this long was healthy: its next death starts the pauses afresh.
HEALTHY_AFTER_S = 60.0
CHECK_EVERY_S = 0.2
REPEAT_AFTER_S = 60.0
# A step of the start-up, or a child in it, that fails so often and for so long by itself will fail again.
FAILURES_MAX = 5
FAILING_FOR_S = 30.0
# What a start meets where there is no room, no descriptor or no memory: `fork` and `open` as OSError, and what fails
# between fork and exec as SubprocessError.
CANNOT_RUN = (OSError, subprocess.SubprocessError, MemoryError)
# What may be over in a moment, of any step of the start-up.
PASSING = (*CANNOT_RUN, *STORE_FAULTS, Unavailable, StoreUnavailable)
_WANTS = tuple(
    os.strerror(number)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
)


class Child:
    """One process of the product: ``python -m <arguments>`` with its own log."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        # Ends by itself, not by a signal, since it was last healthy.
        self.failures = 0
        self._argv = [sys.executable, "-m", *arguments]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_s = PAUSE_FIRST_S
        self._start_again_at: float | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the process, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, now: float) -> str | None:
        """Launch it, from the main thread; ``now`` is monotonic seconds. Returns a sentence where it cannot be."""
        try:
            with uninterrupted():
                self._process = spawn(self._argv, log=self.log, environment=self._environment)
        except CANNOT_RUN as fault:
            return self._postpone(now, f"{self.name} cannot be started ({fault})")
        self._started_at = now
        self._start_again_at = None
        return None

    def restart_if_dead(self, now: float) -> str | None:
        """Start it where it does not run and its pause is over. Returns a sentence where it died or failed just now."""
        if self.pid is not None:
            return None
        if self._start_again_at is None and self._process is not None:
            if now - self._started_at > HEALTHY_AFTER_S:
                self._pause_s, self.failures = PAUSE_FIRST_S, 0
            self.failures += self._process.returncode > 0
            sentence = self._postpone(now, f"{self.name} ended ({_how(self._process.returncode)})")
            return f"{sentence} Its log is {self.log}."
        if self._start_again_at is None or now >= self._start_again_at:
            return self.start(now)
        return None

    def _postpone(self, now: float, what: str) -> str:
        self._start_again_at = now + self._pause_s
        sentence = f"{what}; it starts again in {self._pause_s:g} s."
        self._pause_s = min(self._pause_s * 2, PAUSE_MAX_S)
        return sentence

    def terminate(self) -> None:
        """Send SIGTERM without waiting, so that several children can finish side by side."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait_until_ended(self, *, within_s: float) -> None:
        """Wait for the end that :meth:`terminate` began; SIGKILL after ``within_s``.

        SIGTERM is not sent again: a second one tells a process to drop the calls in flight.
        """
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(within_s)
            stop(self._process, [], each_s=0)


class Supervisor:
    """The servers and, once they are added, the children: all that runs until `up` ends.

    ``say`` tells the terminal a sentence. ``is_ending`` says whether somebody has asked to end: a signal's exception
    can be lost where it is raised, in a destructor or a callback of a library.
    """

    def __init__(
        self, servers: Embedded, folder: DataFolder, say: Callable[[str], None], is_ending: Callable[[], bool]
    ) -> None:
        self._is_ending = is_ending
        self.children: dict[str, Child] = {}
        self._servers = servers
        self._folder = folder
        self._say = say
        self._recorded: list[int] = []
        self._said_at: dict[str, float] = {}
        self._servers_pause_s = PAUSE_FIRST_S
        self._servers_again_at = 0.0

    def run_step(self, step: Callable[[], T]) -> T:
        """Run one step of the start-up, again where it failed for want of something or because something died.

        Raises :class:`CannotStart` for what will not pass, and for what keeps failing by itself.
        """
        pause_s, failures, began = PAUSE_FIRST_S, 0, time.monotonic()
        while not self._is_ending():
            died = self._servers_died()
            try:
                self._servers.restart_dead()
                return step()
            except PASSING as fault:
                failures += not (died or self._servers_died() or isinstance(fault, Killed) or _is_for_want(fault))
                if failures >= FAILURES_MAX and time.monotonic() - began > FAILING_FOR_S:
                    raise CannotStart(f"It failed {failures} times, the last time so: {_described(fault)}") from fault
                self._tell(f"{_described(fault)} It is tried again in {pause_s:g} s.")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
        raise KeyboardInterrupt

    def run_until_ready(self, name: str, host: str, port: int) -> None:
        """Supervise until a child answers ``GET /ready`` with 200. Raises :class:`CannotStart` for one that fails."""
        child = self.children[name]
        while not responds(host, port, "/ready"):
            self.check()
            if child.failures >= FAILURES_MAX and not _is_for_want(Unavailable(tail(child.log))):
                raise CannotStart(f"{name} did not start; {child.log} says:\n{tail(child.log)}")
            time.sleep(CHECK_EVERY_S / 4)

    def run(self, *looks: Callable[[], None]) -> None:
        """Restart what died, servers first, until interrupted; each of ``looks`` is called each time."""
        while True:
            time.sleep(CHECK_EVERY_S)
            self.check()
            for look in looks:
                look()

    def check(self) -> None:
        """Restart what died and can be started now. Raises nothing but ``KeyboardInterrupt``."""
        if self._is_ending():
            raise KeyboardInterrupt
        now = time.monotonic()
        if self._servers_died():
            if now >= self._servers_again_at:
                self._tell("A database server ended; it starts again.")
                self._restart_servers(now)
            for child in self.children.values():
                child.failures = 0  # it is not its own fault
        for child in self.children.values():
            if sentence := child.restart_if_dead(time.monotonic()):
                self._tell(sentence)
        with suppress(OSError):
            for log in (self._folder.path / "logs").glob("*.log"):
                limit_log(log)
        self._record()

    def end(self, names: Sequence[str], *, within_s: float) -> None:
        """End these children side by side."""
        children = [self.children[name] for name in names if name in self.children]
        for child in children:
            child.terminate()
        for child in children:
            child.wait_until_ended(within_s=within_s)

    def _servers_died(self) -> bool:
        return self._servers.was_started and (self._servers.postgres.pid is None or self._servers.redis.pid is None)

    def _restart_servers(self, now: float) -> None:
        try:
            self._servers.restart_dead()
            self._servers_pause_s = PAUSE_FIRST_S
        except (*CANNOT_RUN, CannotStart) as fault:
            self._servers_again_at = now + self._servers_pause_s
            self._tell(f"{_described(fault)} It is tried again in {self._servers_pause_s:g} s.")
            self._servers_pause_s = min(self._servers_pause_s * 2, PAUSE_MAX_S)

    def _record(self) -> None:
        """Note the children for the next run, which ends them if this one is killed; again where there is no room."""
        pids = [child.pid for child in self.children.values() if child.pid is not None]
        if pids == self._recorded:
            return
        try:
            self._folder.record_children(pids)
            self._recorded = pids
        except CANNOT_RUN as fault:
            self._tell(f"The list of children cannot be written ({fault}).")

    def _tell(self, sentence: str) -> None:
        """Say it, but the same not every few seconds: what is said may go to the disk that is full."""
        now = time.monotonic()
        self._said_at = {each: at for each, at in self._said_at.items() if now - at < REPEAT_AFTER_S}
        if sentence not in self._said_at:
            self._said_at[sentence] = now
            self._say(sentence)


def _is_for_want(fault: BaseException) -> bool:
    """Whether it says that there is no room, no descriptor or no memory, which an operator may give at any time."""
    return isinstance(fault, MemoryError) or any(want in str(fault) for want in _WANTS)


def _described(fault: BaseException) -> str:
    sentence = str(fault).strip() or type(fault).__name__
    return sentence if sentence.endswith((".", ":")) else f"{sentence}."


def _how(returncode: int) -> str:
    return f"exit code {returncode}" if returncode >= 0 else f"signal {-returncode}"


def responds(host: str, port: int, path: str) -> bool:
    """Whether an HTTP GET gets a 200."""
    return fetch(host, port, path) is not None


def fetch(host: str, port: int, path: str, headers: Mapping[str, str] | None = None) -> bytes | None:
    """The body of a 200 to an HTTP GET; None for anything else."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        reply = connection.getresponse()
        return reply.read() if reply.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
