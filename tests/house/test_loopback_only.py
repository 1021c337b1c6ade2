"""No test reaches further than this machine, by whatever way; what is on it is reached."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

ELSEWHERE = "192.0.2.1"


async def connect_over_uvloop() -> None:
    await asyncio.get_running_loop().create_connection(asyncio.Protocol, ELSEWHERE, 9)


def send_a_datagram() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (ELSEWHERE, 9))


WAYS: dict[str, Callable[[], object]] = {
    "a connection": lambda: socket.create_connection((ELSEWHERE, 9), timeout=1),
    "a connection in IPv6": lambda: socket.create_connection(("2001:db8::1", 9), timeout=1),
    "a name": lambda: socket.getaddrinfo("provider.example", 443),
    "a datagram": send_a_datagram,
    "asyncio": lambda: asyncio.run(connect_over_uvloop()),
    "uvloop": lambda: uvloop.run(connect_over_uvloop()),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_would_leave_this_machine_fails_the_test(way: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="tests reach loopback only"):
        WAYS[way]()


def test_loopback_and_unix_sockets_are_reached(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1])).close()
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))
