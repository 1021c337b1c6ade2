"""A worker that loads its model says so on the port that it will serve from."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from providers.worker.server.loading import LoadingResponder


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_every_request_is_told_that_the_model_is_being_loaded(listener: socket.socket) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with LoadingResponder(listener), httpx.Client() as client:
        # A body of megabytes is read to its end, or its sender would see a reset instead of the answer.
        for answer in (client.get(f"{url}/ready"), client.post(f"{url}/embed", content=b"x" * 3_000_000)):
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "model_warming"
            assert answer.json()["status"] == "warming"


def test_a_peer_that_says_nothing_does_not_keep_the_port(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)), LoadingResponder(listener):
        assert httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 503
    # Whoever serves next has the socket as it was.
    listener.settimeout(5)
    with socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(json.dumps({"served": True}).encode())
            assert client.recv(100)
