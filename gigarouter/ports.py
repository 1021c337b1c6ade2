"""Binds TCP ports, finds free ones, and says in a sentence which setting to change where one cannot be used."""

import socket
from typing import Any

from store.faults import CannotStart

LOOPBACK = "127.0.0.1"


class Port:
    """The sockets of one host and port: bound when it is made, so that nothing starts that could not listen.

    A host with several addresses has one socket for each. Raises :class:`CannotStart`, which names ``setting``.
    """

    def __init__(self, host: str, port: int, setting: str) -> None:
        self.sockets: list[socket.socket] = []
        self._place, self._setting = f"Port {port} on {host}", setting
        try:
            found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                self.sockets.append(_bound(socket.socket(family, kind, protocol), address))
        except OSError as error:
            self.close()
            raise CannotStart(self.fault(error)) from error

    def fault(self, error: OSError) -> str:
        """The sentence for a port that cannot be used."""
        return f"{self._place} cannot be used ({error.strerror}): set {self._setting} to another one."

    def close(self) -> None:
        """Give the port back."""
        for one in self.sockets:
            one.close()


def _bound(opened: socket.socket, address: Any) -> socket.socket:  # noqa: ANN401 - as getaddrinfo has it
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def free_port(host: str, preferred: int) -> int:
    """The preferred port if it is free, else any other, for a port that no user has to know."""
    for port in (preferred, 0):
        try:
            probe = Port(host, port, "another address")
        except CannotStart:
            continue
        try:
            return int(probe.sockets[0].getsockname()[1])
        finally:
            probe.close()
    raise CannotStart(f"No port can be opened on {host}.")


def require_free_port(host: str, port: int, setting: str) -> None:
    """Raise :class:`CannotStart` where another process listens there, or where we may not."""
    Port(host, port, setting).close()


def reachable(host: str) -> str:
    """The address, as a URL has it, at which a client on this machine finds a server that listens on ``host``."""
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - a comparison, not a bind
        return LOOPBACK if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host
