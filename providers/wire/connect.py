"""Opens connections: resolves a name, judges every address, connects, and verifies TLS for https."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from itertools import zip_longest
from typing import Final

from providers.outcomes import ConnectFailed, ConnectStep, TimedOut
from providers.wire.guard import is_allowed_network, refusal
from providers.wire.http1 import Connection
from providers.wire.origin import Origin

# RFC 8305 recommends 250 ms before the next address is tried beside the first.
STAGGER_S = 0.25

Resolve = Callable[[str, int], Awaitable[list[str]]]
# What a failure's detail calls each step.
_WORDS: Final[dict[ConnectStep, str]] = {"resolve": "name", "guard": "address", "connect": "connect", "tls": "tls"}


async def resolve(host: str, port: int) -> list[str]:
    """Resolve a name to its numeric addresses by the system's resolver, both families. Raises ``OSError``."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in infos))


async def connect(
    origin: Origin, timeout_s: float, tls: ssl.SSLContext, lookup: Resolve, siblings: set[Connection]
) -> Connection:
    """Open a connection to ``origin`` within ``timeout_s`` seconds. Raises ConnectFailed or TimedOut.

    Every address that the name resolves to is judged, and one forbidden address refuses all; then the address of the
    connected socket is judged again, before a byte is sent.
    """
    loop = asyncio.get_running_loop()
    step: ConnectStep = "resolve"
    try:
        async with asyncio.timeout(timeout_s):
            addresses = [origin.host] if origin.literal else await lookup(origin.host, origin.port)
            for address in addresses:
                _judge(address, origin)
            step = "connect"
            sock = await _race(_families_in_turn(addresses), origin)
            step = "tls"
            _, connection = await loop.create_connection(
                lambda: Connection(loop, siblings),
                sock=sock,
                ssl=tls if origin.is_tls else None,
                server_hostname=origin.host if origin.is_tls else None,
            )
    except TimeoutError as error:
        raise TimedOut(step=step, detail=f"{_WORDS[step]}: not in {timeout_s:.3g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise ConnectFailed(step="tls", detail=f"tls: {error.reason}: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise ConnectFailed(step="tls", detail=f"tls: {error.reason or type(error).__name__}") from error
    except OSError as error:
        raise ConnectFailed(step=step, detail=f"{_WORDS[step]}: {_name(error)}") from error
    return connection


def _judge(address: str, origin: Origin) -> None:
    reason = refusal(address, origin.allowed)
    if reason is None and (origin.in_house or not origin.is_tls) and not is_allowed_network(address, origin.allowed):
        traffic = "what is asked of our own machines" if origin.in_house else "plain http"
        reason = f"{traffic} is spoken only inside allowed networks"
    if reason is not None:
        raise ConnectFailed(step="guard", refusal=reason, detail=f"address {address} refused: {reason}")


def _families_in_turn(addresses: list[str]) -> list[str]:
    """IPv6 and IPv4 alternating, beginning with the resolver's first choice, so that a dead family costs little."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    first, second = (six, four) if addresses and ":" in addresses[0] else (four, six)
    return [address for pair in zip_longest(first, second) for address in pair if address is not None]


async def _race(addresses: list[str], origin: Origin) -> socket.socket:
    """The first socket to connect; the next address starts when the last has failed or after :data:`STAGGER_S`."""
    if not addresses:
        raise ConnectFailed(step="resolve", detail="name: no address")
    untried = addresses[::-1]
    dials: set[asyncio.Task[socket.socket]] = set()
    error: BaseException = OSError()
    try:
        while untried or dials:
            if untried:
                dials.add(asyncio.create_task(_dial(untried.pop(), origin)))
            done, dials = await asyncio.wait(
                dials, timeout=STAGGER_S if untried else None, return_when=asyncio.FIRST_COMPLETED
            )
            connected = [dial.result() for dial in done if dial.exception() is None]
            if connected:
                for spare in connected[1:]:
                    spare.close()
                return connected[0]
            error = next((failed for dial in done if (failed := dial.exception())), error)
    finally:
        for dial in dials:
            dial.cancel()
        for late in await asyncio.gather(*dials, return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()
    raise error


async def _dial(address: str, origin: Origin) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Nagle would hold back the tail of a request until the server acknowledges its head.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (address, origin.port))
        _judge(str(sock.getpeername()[0]), origin)
    except BaseException:
        sock.close()
        raise
    return sock


def _name(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the name does not resolve"
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
