"""Fails whatever in this process would reach further than loopback: a connection, a datagram, a look-up of a name.

Python's audit events tell of every socket, those of C extensions and of other threads, too; uvloop connects by itself,
so its one way to do so by name or address is checked beside them. Processes that a test starts are on their own.
"""

import socket
import sys
from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import Any

import pytest
import uvloop

LOCAL_NAMES = {"", "localhost", "0.0.0.0", "::", socket.gethostname()}


def is_local(host: object) -> bool:
    """Whether nothing leaves this machine on the way to ``host``."""
    if host is None:
        return True
    name = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    if name in LOCAL_NAMES:
        return True
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def refuse(host: object, by: str) -> None:
    """Fail the test, with an exception that no ``except Exception`` swallows."""
    if not is_local(host):
        pytest.fail(f"{by} would have left this machine for {host!r}: tests reach loopback only")


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if isinstance(address, tuple):
            refuse(address[0], event)
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        refuse(arguments[0], event)


def _guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(connect)
    async def create_connection(self: object, factory: object, host: object = None, *rest: object, **more: Any) -> Any:
        refuse(host, "uvloop")
        return await connect(self, factory, host, *rest, **more)

    return create_connection


def install() -> None:
    """For the rest of this process's life: an audit hook cannot be taken back."""
    sys.addaudithook(_heard)
    uvloop.Loop.create_connection = _guarded(uvloop.Loop.create_connection)  # type: ignore[method-assign]
