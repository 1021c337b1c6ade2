"""Several replicas on a local Ray cluster: one address, and a replica that is killed loses no accepted request."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import numpy as np
import psutil
import pytest

from providers.worker import frames
from providers.worker.server.app import Reply
from providers.worker.start import LoadedModel
from tests.harness.worker_process import ROOT

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from ray.exceptions import RayActorError

from providers.worker import ray_deploy

TEXTS = [f"text {number}" for number in range(20)]


class Cluster:
    """The driver process and the address of its front."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url
        # What it said before it served: status, and the error's code where there is one.
        self.said_cold: list[tuple[int, str]] = []

    def replicas(self) -> list[psutil.Process]:
        """The processes that hold a model, on this cluster only."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        found = []
        for process in family:
            try:
                title = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if "ServeReplica" in title and ":Replica" in title:
                found.append(process)
        return found


@pytest.fixture(scope="module")
def cluster(qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["--ray", "--model", str(qwen), "--port", str(port), "--device", "cpu"]
    arguments += ["--replicas-min", "2", "--replicas-max", "2"]
    log = tmp_path_factory.mktemp("ray") / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "providers.worker", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    running = Cluster(process, f"http://127.0.0.1:{port}")
    try:
        _wait_for_all(running, log)
        yield running
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0, log.read_text(errors="replace")
    finally:
        process.kill()
        process.wait()


def _wait_for_all(running: Cluster, log: Path) -> None:
    """Until all replicas are there. It answers before, and a replica that dies until then ends the start."""
    deadline = time.monotonic() + 150
    while f"{running.url.rpartition(':')[2]} with Ray" not in log.read_text(errors="replace"):
        try:
            answer = httpx.get(f"{running.url}/ready", timeout=3)
            if answer.status_code != 200:
                running.said_cold.append(
                    (answer.status_code, answer.json()["error"]["code"] if "{" in answer.text else "")
                )
        except httpx.TransportError:
            pass
        assert running.process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline
        time.sleep(0.5)


def embed(client: httpx.Client) -> tuple[int, bytes]:
    answer = client.post("/embed", content=msgspec.msgpack.encode({"texts": TEXTS}), timeout=90)
    return answer.status_code, answer.content


def test_before_the_first_replica_lives_it_says_that_the_model_is_being_loaded(cluster: Cluster) -> None:
    """Or nothing, or Ray's own 404, which is what its server says until it knows of the worker."""
    assert set(cluster.said_cold) <= {(404, ""), (503, "model_warming")}


class Replicas:
    """A handle of Ray's, as far as the front uses it; none of the replicas lives before :attr:`alive` is set."""

    def __init__(self) -> None:
        self.alive = asyncio.Event()
        self.dies = False
        self.canceled = 0

    @property
    def answer(self) -> "Replicas":
        return self

    def remote(self, verb: str, path: str, body: bytes) -> "Waiting":
        return Waiting(self, path)


class Waiting:
    def __init__(self, replicas: Replicas, path: str) -> None:
        self._replicas = replicas
        self._path = path

    def __await__(self) -> Generator[object, None, Reply]:
        return self._answer().__await__()

    async def _answer(self) -> Reply:
        await self._replicas.alive.wait()
        if self._replicas.dies and self._path != "/health":
            self._replicas.alive.clear()
            raise RayActorError
        return Reply(200, self._path.encode())

    def cancel(self) -> None:
        self._replicas.canceled += 1


def test_a_front_without_a_living_replica_says_so_and_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_deploy, "HEALTH_WITHIN_S", 0.05)

    async def scenario() -> None:
        replicas = Replicas()
        front = ray_deploy.Front(cast("Any", replicas))
        for path in ("/ready", "/embed"):
            cold = await front.answer("POST", path, b"")
            assert (cold.status, cold.headers) == (503, [(b"retry-after", b"2")])
            assert msgspec.json.decode(cold.body)["error"]["code"] == "model_warming"
        assert replicas.canceled == 2
        replicas.alive.set()
        assert (await front.answer("POST", "/embed", b"")).body == b"/embed"
        # The only one dies with a request, which waits for its successor; whoever comes meanwhile is told.
        replicas.dies = True
        waiting = asyncio.ensure_future(front.answer("POST", "/embed", b""))
        await asyncio.sleep(0)
        assert (await front.answer("POST", "/embed", b"")).status == 503
        replicas.dies = False
        replicas.alive.set()
        assert (await waiting).status == 200

    asyncio.run(scenario())


def test_a_killed_replica_loses_no_accepted_request(cluster: Cluster, ready: LoadedModel) -> None:
    stop = threading.Event()

    def call() -> list[tuple[int, bytes]]:
        answers = []
        with httpx.Client(base_url=cluster.url) as client:
            while not stop.is_set():
                answers.append(embed(client))
        return answers

    replicas = cluster.replicas()
    assert len(replicas) == 2
    with ThreadPoolExecutor(6) as callers:
        calls = [callers.submit(call) for _ in range(6)]
        time.sleep(2)
        os.kill(replicas[0].pid, signal.SIGKILL)
        time.sleep(4)
        stop.set()
        answers = [answer for one in calls for answer in one.result()]
    assert {status for status, _ in answers} == {200}
    assert len(answers) > 12
    rows = [ready.encoder.embed([row]) for row in ready.tokenizers.encode_texts(TEXTS, "", truncate=False)]
    expected = np.concatenate(rows) / np.linalg.norm(np.concatenate(rows), axis=1, keepdims=True)
    for _, body in answers:
        assert np.abs(frames.decode_answer(body)[1] - expected).max() <= 1e-6


def test_a_killed_replica_is_replaced(cluster: Cluster) -> None:
    deadline = time.monotonic() + 60
    while len(cluster.replicas()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
