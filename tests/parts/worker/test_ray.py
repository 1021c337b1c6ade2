"""Several replicas on a local Ray cluster: one address, and a replica that is killed loses no accepted request."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import numpy as np
import psutil
import pytest

from providers.worker import frames
from providers.worker.start import Ready
from tests.parts.worker.processes import ROOT

pytest.importorskip("ray", reason="the extra `ray` is not installed")

TEXTS = [f"text {number}" for number in range(20)]


class Cluster:
    """The driver process and the address of its front."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url

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
def cluster(qwen: Path) -> Iterator[Cluster]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["--ray", "--model", str(qwen), "--port", str(port), "--device", "cpu"]
    arguments += ["--replicas-min", "2", "--replicas-max", "2"]
    process = subprocess.Popen([sys.executable, "-m", "providers.worker", *arguments], cwd=ROOT)
    running = Cluster(process, f"http://127.0.0.1:{port}")
    deadline = time.monotonic() + 150
    while True:
        try:
            if httpx.get(f"{running.url}/ready", timeout=30).status_code == 200:
                break
        except httpx.TransportError:
            pass
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.5)
    yield running
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 0


def embed(client: httpx.Client) -> tuple[int, bytes]:
    answer = client.post("/embed", content=msgspec.msgpack.encode({"texts": TEXTS}), timeout=90)
    return answer.status_code, answer.content


def test_a_killed_replica_loses_no_accepted_request(cluster: Cluster, ready: Ready) -> None:
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
