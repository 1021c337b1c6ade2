"""Supervises the child processes of `up`: starts them, waits until they answer, restarts them with growing pauses."""

import http.client
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGTERM

from store.faults import CannotStart
from store.processes import spawn, stop, tail

PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0
# A child that lived this long was healthy: its next death starts the pauses afresh.
HEALTHY_AFTER_S = 60.0


class Child:
    """One process of the product: ``python -m <arguments>`` with its own log."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
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

    def start(self, now: float) -> None:
        """Launch it; ``now`` is monotonic seconds. Call it from the main thread."""
        self._process = spawn(self._argv, log=self.log, environment=self._environment)
        self._started_at = now
        self._start_again_at = None

    def restart_if_dead(self, now: float) -> str | None:
        """Start it again where it has died and its pause is over. Returns a sentence where it died just now."""
        if self._process is None or self._process.poll() is None:
            return None
        if self._start_again_at is None:
            if now - self._started_at > HEALTHY_AFTER_S:
                self._pause_s = PAUSE_FIRST_S
            self._start_again_at = now + self._pause_s
            sentence = f"{self.name} ended ({_how(self._process.returncode)}); it starts again in {self._pause_s:g} s."
            self._pause_s = min(self._pause_s * 2, PAUSE_MAX_S)
            return f"{sentence} Its log is {self.log}."
        if now >= self._start_again_at:
            self.start(now)
        return None

    def wait_until_ready(self, host: str, port: int, *, within_s: float) -> None:
        """Wait until ``GET /ready`` answers 200. Raises :class:`CannotStart` where it ends or stays unready."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.pid is None:
                raise CannotStart(f"{self.name} did not start; {self.log} says:\n{tail(self.log)}")
            if responds(host, port, "/ready"):
                return
            time.sleep(0.05)
        raise CannotStart(f"{self.name} was not ready after {within_s:.0f} s; see {self.log}.")

    def stop(self, *, within_s: float) -> None:
        """End it by SIGTERM, and by SIGKILL after ``within_s``."""
        if self._process is not None:
            stop(self._process, [SIGTERM], each_s=within_s)

    def terminate(self) -> None:
        """Send SIGTERM without waiting, so that several children can finish side by side."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


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
