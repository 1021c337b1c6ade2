"""The product's own processes for stories: ``serve`` any number of times, ``jobs``, the in-house worker.

Everything here is a real subprocess of the installed command, on the database and the Redis that the test hands in.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Any, Self

from cryptography.fernet import Fernet

from store.processes import spawn, tail
from tests.builders.database import DatabaseBuilder

ROOT = Path(__file__).parents[2]
READY_WITHIN_S = 120.0
# Below those that the kernel gives to whatever connects: one of them may be taken between the look and the use. The
# port of operators is a thousand above the public one, so that thousands alternate.
ADMIN_OFFSET = 1_000
PORTS = [port for port in range(12_000, 18_000) if port // ADMIN_OFFSET % 2 == 0]
# Tests that run side by side share none: a port is free until its process listens, seconds later.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_DICE = SystemRandom()
_given: deque[int] = deque(maxlen=200)


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago, as was the one of operators beside it; none twice soon."""
    while True:
        # pytest-randomly seeds the usual dice alike for each test, and in each process.
        port = _DICE.choice(PORTS[WORKER % WORKERS :: WORKERS])
        if port not in _given and _is_free(port) and _is_free(port + ADMIN_OFFSET):
            _given.append(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Process:
    """One process of the product: started, killed, frozen, started again with the same settings."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        port: int = 0,
        admin_port: int = 0,
    ) -> None:
        self.name = name
        self.port = port
        self.admin_port = admin_port
        self.log = folder / f"{name}.log"
        self._argv = [sys.executable, "-m", *argv]
        self._environment = environment
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """Where a `serve` has `/admin` and `/metrics`."""
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def pid(self) -> int:
        assert self._child is not None, f"{self.name} was never started"
        return self._child.pid

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start, without waiting; call it from the main thread (the child dies with the thread that made it)."""
        if not self.runs:
            self._log_start = self.log.stat().st_size if self.log.exists() else 0
            self._child = spawn(self._argv, log=self.log, cwd=ROOT, environment=self._environment)

    def wait_until_ready(self, path: str = "/ready", within_s: float = READY_WITHIN_S) -> None:
        """Until ``path`` answers 200; fails with the log's last lines."""
        deadline = time.monotonic() + within_s
        said = "no answer"
        while time.monotonic() < deadline and self.runs:
            try:
                with urllib.request.urlopen(self.url + path, timeout=20):
                    return
            except urllib.error.HTTPError as error:
                said = f"{error.code} {error.read()[:200]!r}"
            except OSError as error:
                said = str(error)
            time.sleep(0.05)
        raise AssertionError(f"{self.name} is not ready ({said}); its log ends:\n{tail(self.log, 30)}")

    def said_since_start(self) -> str:
        """The log of its last life."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        if self.runs:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and wait for the corpse."""
        self.signal(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()

    def stop(self, within_s: float = 30) -> int | None:
        """SIGTERM, then SIGKILL; the exit code, None where it never ran."""
        if self._child is None:
            return None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._child.returncode


class Product:
    """``with Product(folder, database_url, redis_url, serves=3) as product:`` all processes ready inside."""

    def __init__(
        self,
        folder: Path,
        database_url: str,
        redis_url: str,
        *,
        serves: int = 1,
        jobs: bool = True,
        settings: dict[str, str] | None = None,
        serve_database_urls: dict[int, str] | None = None,
        jobs_database_url: str | None = None,
    ) -> None:
        """``serve_database_urls`` are other ways to the same database, for some of the serves; so for jobs."""
        self.database_url = database_url
        self._serve_database_urls = serve_database_urls or {}
        self.redis_url = redis_url
        self.secret_key = Fernet.generate_key().decode()
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIGAROUTER_")}
        environment |= {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "GIGAROUTER_SECRET_KEYS": self.secret_key,
            "GIGAROUTER_DATA_DIR": str(folder / "data"),
            "GIGAROUTER_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        }
        environment |= {f"GIGAROUTER_{name.upper()}": value for name, value in (settings or {}).items()}
        self.environment = environment
        self.workers: list[Process] = []
        self.serves = [self._serve(number) for number in range(serves)]
        for_jobs = environment | {"DATABASE_URL": jobs_database_url or database_url}
        self.jobs = Process("jobs", ["gigarouter", "jobs"], for_jobs, folder) if jobs else None

    def _serve(self, number: int) -> Process:
        port, admin_port = free_port(), free_port()
        ports = {"GIGAROUTER_PORT": str(port), "GIGAROUTER_ADMIN_PORT": str(admin_port)}
        database = {"DATABASE_URL": self._serve_database_urls.get(number, self.database_url)}
        environment = ports | self.environment | database
        admin_port = int(environment["GIGAROUTER_ADMIN_PORT"])
        return Process(f"serve-{number}", ["gigarouter", "serve"], environment, self.folder, port, admin_port)

    @property
    def database(self) -> DatabaseBuilder:
        """Accounts, keys, models and endpoints for this product; may be used before it starts."""
        return DatabaseBuilder(self.database_url, self.secret_key)

    def worker(self, model: Path, name: str, port: int) -> Process:
        """Add an in-house worker that serves a model's folder; started with the others."""
        arguments = ["providers.worker", "--model", str(model), "--name", name, "--port", str(port)]
        process = Process("worker", arguments, self.environment, self.folder, port)
        self.workers.append(process)
        return process

    @property
    def processes(self) -> list[Process]:
        return [*self.workers, *self.serves, *([self.jobs] if self.jobs else [])]

    @property
    def url(self) -> str:
        """The first serve's, with ``/v1``: what an SDK takes as its base URL."""
        return self.serves[0].url + "/v1"

    def wait_until_known(self, key: str, within_s: float = 30) -> str:
        """Until every serve has heard of a key that was made a moment ago, and answers; returns the key.

        503: a store was away a moment ago, as a test that takes one away leaves it.
        """
        deadline = time.monotonic() + within_s
        for serve in self.serves:
            while True:
                try:
                    self.account(key, serve)
                    break
                except urllib.error.HTTPError as refused:
                    if refused.code not in (401, 503) or time.monotonic() > deadline:
                        raise
                time.sleep(0.01)
        return key

    def account(self, key: str, serve: Process | None = None) -> dict[str, Any]:
        """What ``GET /v1/account`` says to a key."""
        url = (serve or self.serves[0]).url + "/v1/account"
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            said: dict[str, Any] = json.load(answer)
            return said

    def start(self) -> None:
        """Start all, then wait for those that answer."""
        for process in self.processes:
            process.start()
        for process in [*self.workers, *self.serves]:
            process.wait_until_ready()

    def stop(self) -> None:
        for process in self.processes:
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        for process in self.processes:
            process.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
