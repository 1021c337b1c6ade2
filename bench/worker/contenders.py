"""Who is measured: our server over its own wire, and the peers, each in a process of its own."""

import contextlib
import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from bench import machine
from bench.missing import end
from providers.worker import frames

PEER = Path(__file__).with_name("peer.py")
INFINITY = "infinity-emb[torch]==0.0.78"


class Unavailable(Exception):
    """A peer that cannot be had here."""


# What is met where a process that is measured has ended.
LOST = (Unavailable, OSError, RuntimeError, http.client.HTTPException)


class Run(msgspec.Struct, frozen=True):
    """One pass over the texts."""

    wall_s: float
    cpu_s: float


class Ours:
    """``python -m providers.worker``; time is that of one request with all texts, HTTP included."""

    name = "ours"

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str = "float32",
        arguments: tuple[str, ...] = (),
        module: str = "providers.worker",
    ) -> None:
        command = [sys.executable, "-m", module, "--model", str(folder), "--device", "cpu"]
        command += ["--dtype", dtype, "--port", "0", "--max-tokens", "2048", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        written = []
        for line in self.process.stderr:
            written.append(line)
            if found := re.search(r"serving on http://127.0.0.1:(\d+)", line):
                self.port = int(found.group(1))
                break
        else:
            raise Unavailable("".join(written)[-500:])
        # A device assert writes a line per thread of the GPU; with the pipe full the worker would wait for ever.
        log = self.process.stderr
        threading.Thread(target=lambda: deque(log, maxlen=0), daemon=True).start()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=900)

    def embed(
        self, texts: list[str], *, lane: str = "batch", connection: http.client.HTTPConnection | None = None
    ) -> npt.NDArray[np.float32]:
        body = msgspec.msgpack.encode({"texts": texts, "lane": lane})
        own = connection or self.connect()
        own.request("POST", "/embed", body, {"content-type": "application/msgpack"})
        answer = own.getresponse()
        content = answer.read()
        if connection is None:
            own.close()
        if answer.status != 200:
            raise RuntimeError(content[:300])
        return frames.decode_answer(content)[1]

    def run(self, texts: list[str]) -> tuple[Run, npt.NDArray[np.float32]]:
        cpu, wall = machine.cpu_s([self.process.pid]) + time.process_time(), time.perf_counter()
        vectors = self.embed(texts)
        wall_s = time.perf_counter() - wall
        return Run(wall_s, machine.cpu_s([self.process.pid]) + time.process_time() - cpu), vectors

    def counter(self, name: str) -> float:
        connection = self.connect()
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"gigarouter_worker_{name}"))

    def close(self) -> None:
        machine.end([self.process.pid], grace_s=30)


class Peer:
    """A library's own way to embed a list, timed inside its process."""

    def __init__(
        self, name: str, python: str, kind: str, folder: Path, batch_size: int, threads: int, scratch: Path
    ) -> None:
        self.name = name
        self._scratch = scratch
        self.process = subprocess.Popen(
            [python, str(PEER), kind, str(folder), str(batch_size), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(scratch / f"{name}.log").open("w"),
            text=True,
            bufsize=1,
        )
        self._read()

    def _read(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            log = (self._scratch / f"{self.name}.log").read_text()[-600:]
            raise Unavailable(f"{self.name} ended: {log}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def run(self, texts: list[str]) -> tuple[Run, npt.NDArray[np.float32]]:
        asked, given = self._scratch / "texts.json", self._scratch / f"{self.name}.npy"
        asked.write_text(json.dumps(texts))
        given.unlink(missing_ok=True)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"texts": str(asked), "vectors": str(given)}) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        while not given.exists():
            if self.process.poll() is not None:
                raise Unavailable(f"{self.name} ended before it had written its vectors")
            time.sleep(0.05)
        time.sleep(0.05)
        return Run(answer["wall_s"], answer["cpu_s"]), np.load(given)

    def close(self) -> None:
        machine.end([self.process.pid])


def require_infinity(home: Path) -> str:
    """The Python of infinity's own environment; where it has none, the bench ends and says how it is made.

    Its own, because infinity pins other versions of torch and transformers than ours.
    """
    python = home / "bin" / "python"
    found = [str(python), "-c", "import infinity_emb"]
    if not python.exists() or subprocess.run(found, capture_output=True, check=False).returncode != 0:
        making = f"python -m venv {home} && {python} -m pip install '{INFINITY}'"
        end(f"infinity is missing: {making}; or leave out what it takes part in: --parts latency invariance ray")
    return str(python)


Contender = Ours | Peer


class Replicas:
    """Our server as so many replicas of one core each, on a Ray cluster of this machine."""

    def __init__(self, folder: Path, replicas: int) -> None:
        self._port = machine.free_port()
        command = [sys.executable, "-m", "providers.worker", "--ray", "--model", str(folder), "--device", "cpu"]
        command += ["--port", str(self._port), "--replicas-min", str(replicas), "--replicas-max", str(replicas)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 180
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("the Ray cluster did not start")
            time.sleep(0.5)

    def _is_ready(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def embed(self, texts: list[str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=900)
        connection.request("POST", "/embed", msgspec.msgpack.encode({"texts": texts}))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(content[:300])

    def close(self) -> None:
        machine.end([self.process.pid], grace_s=60)


@contextlib.contextmanager
def closing(contenders: list[Contender]) -> Iterator[None]:
    try:
        yield
    finally:
        for contender in contenders:
            contender.close()
