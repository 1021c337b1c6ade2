"""A process that can open no more files or write no more log answers or refuses, and is whole as soon as it can be."""

import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from store.embedded import Embedded
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product, free_port
from tests.harness.scarcity import no_descriptors
from tests.harness.up_command import Up, end_what_is_left, running

MODEL = "tests/scarce"
CREDIT = 1_000_000_000
INTO_NOWHERE = 'exec "$@" > /dev/full 2>&1'
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def product(servers: Embedded, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Product]:
    with Product(tmp_path, database_url, redis_url) as running:
        yield running


@pytest.fixture
def key(product: Product) -> Iterator[str]:
    """A key with credit, and an upstream that answers."""
    with Upstream(8).in_thread() as upstream:
        product.database.an_endpoint(product.database.a_model(MODEL), upstream.base_url)
        yield product.wait_until_known(product.database.a_key(product.database.an_account(CREDIT)))


def call(product: Product, key: str) -> int | str:
    """The status of a call on a connection of its own, or how the connection was lost."""
    body, headers = {"model": MODEL, "input": "x"}, {"authorization": f"Bearer {key}"}
    try:
        return httpx.post(f"{product.url}/embeddings", json=body, headers=headers, timeout=30).status_code
    except httpx.TransportError as lost:
        return type(lost).__name__


def wait_until_served(product: Product, key: str) -> None:
    deadline = time.monotonic() + 15
    while (answer := call(product, key)) != 200:
        assert time.monotonic() < deadline, (answer, product.serves[0].said_since_start()[-2000:])
        time.sleep(0.1)


def test_a_serve_that_can_open_nothing_more_serves_again_as_soon_as_it_can(product: Product, key: str) -> None:
    serve = product.serves[0]
    wait_until_served(product, key)
    with ExitStack() as held, no_descriptors(serve.pid):
        for _ in range(60):
            with suppress(OSError):
                held.enter_context(socket.create_connection(("127.0.0.1", serve.port), 1))
        seen = [call(product, key) for _ in range(20)]
        assert set(seen) <= {200, 503, "ReadError", "RemoteProtocolError", "ConnectError"}, seen
        assert serve.runs
    wait_until_served(product, key)
    assert httpx.get(f"{serve.admin_url}/ready").status_code == 200
    answered = product.database.value("SELECT count(*) FROM usage_events")
    assert answered == seen.count(200) + 2, "an answer is a charge, and nothing else is"


def test_more_connections_than_there_are_descriptors_for_are_503_and_calls_go_on(
    servers: Embedded, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Started as with `ulimit -n 300`: the port takes 50 connections, and the calls on them have all they need."""
    limited = Product(tmp_path, database_url, redis_url, jobs=False)
    limited.serves[0]._argv = [sys.executable, "-c", LIMITED, *limited.serves[0]._argv[1:]]
    with limited, Upstream(8).in_thread() as upstream, ExitStack() as held:
        limited.database.an_endpoint(limited.database.a_model(MODEL), upstream.base_url)
        key = limited.wait_until_known(limited.database.a_key(limited.database.an_account(CREDIT)))
        client = held.enter_context(httpx.Client(headers={"authorization": f"Bearer {key}"}))
        body = {"model": MODEL, "input": "x"}
        wait_until_served(limited, key)
        assert client.post(f"{limited.url}/embeddings", json=body).status_code == 200
        for _ in range(60):
            held.enter_context(socket.create_connection(("127.0.0.1", limited.serves[0].port), 1))
        refused = httpx.get(f"{limited.url}/account")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded"), refused.text
        assert refused.headers["retry-after"] == "1"
        assert client.post(f"{limited.url}/embeddings", json=body).status_code == 200
        assert httpx.get(f"{limited.serves[0].admin_url}/metrics").status_code == 200, "operators can still look"


def test_a_log_that_cannot_be_written_costs_no_call(
    servers: Embedded, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """`/dev/full` is a disk without a byte left, for every line that the processes write."""
    silent = Product(tmp_path, database_url, redis_url, settings={"log_level": "debug"})
    for process in silent.processes:
        # Not as its log, which is read where something fails, and this one has no end.
        process._argv = ["sh", "-c", INTO_NOWHERE, "sh", *process._argv]
    with silent, Upstream(8).in_thread() as upstream:
        silent.database.an_endpoint(silent.database.a_model(MODEL), upstream.base_url)
        key = silent.wait_until_known(silent.database.a_key(silent.database.an_account(CREDIT)))
        wait_until_served(silent, key)
        assert [call(silent, key) for _ in range(20)] == [200] * 20
        assert call(silent, "gr_live_nobody") == 401
        assert all(process.runs for process in silent.processes)


def test_up_starts_and_ends_though_its_output_cannot_be_written(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", free_port(), started_by=("sh", "-c", INTO_NOWHERE, "sh"))
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "data" / "connection.toml").exists():
            assert up.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        family = up.family()
        up.end(signal.SIGTERM)
        # Python's own, for what it cannot flush at the end.
        assert up.process.returncode in {0, 120}
        assert not running(family)
    finally:
        end_what_is_left(tmp_path / "data")
