"""Pure. Parses a provider's base URL, once and strictly, and makes the heads of requests to it."""

import re
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import msgspec

from providers.wire.guard import Networks, judge

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_PORTS = {"http": 80, "https": 443}


class Origin(msgspec.Struct, frozen=True):
    """Where a provider is: ``host`` in ASCII, ``literal`` where it is an address, ``path`` without a slash at the end.

    ``allowed`` are networks that the operator allowed by configuration. Plain http goes to those only: elsewhere it
    would show our credentials to everyone on the way. ``in_house``: only addresses in those networks are reached.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    allowed: Networks = ()
    literal: bool = False
    in_house: bool = False

    @property
    def is_tls(self) -> bool:
        """Whether the scheme is https."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def is_same_origin(self, other: "Origin") -> bool:
        """Whether both have the same scheme, host and port."""
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)

    def head(self, path: str, headers: dict[str, str], method: str = "POST") -> bytes:
        """A request's head up to ``Content-Length:``, which :func:`request` completes.

        Raises ``ValueError`` for a path or a header with characters that could end the line.
        """
        fixed = {
            "Host": self.authority,
            "User-Agent": "gigarouter",
            "Accept-Encoding": "identity",
            **headers,
        }
        if not _TARGET.fullmatch(self.path + path) or not _TOKEN.fullmatch(method):
            raise ValueError("the path has characters that a path must not have")
        for name, value in fixed.items():
            if not _TOKEN.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"the value of the header {name} has characters that a header must not have")
        lines = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())
        return f"{method} {self.path}{path} HTTP/1.1\r\n{lines}Content-Length: ".encode("ascii")


def request(head: bytes, body: bytes) -> bytes:
    """The bytes of one request: a head made by :meth:`Origin.head` and its body."""
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)


def parse_origin(base_url: str, allowed: Networks = ()) -> Origin:
    """Parse a base URL. Raises ``ValueError`` whose text tells an operator what to write instead."""
    if not base_url.isprintable() or " " in base_url or "\\" in base_url:
        raise ValueError("a base URL has no spaces, backslashes or control characters")
    parts = urlsplit(base_url)
    if parts.scheme not in _PORTS:
        raise ValueError("a base URL starts with https:// (or http:// inside an allowed network)")
    if "@" in parts.netloc:
        raise ValueError("a base URL has no user or password; give the credential apart from it")
    if parts.query or parts.fragment or base_url.endswith(("?", "#")):
        raise ValueError("a base URL has neither ? nor #")
    if not _PATH.fullmatch(parts.path) or "/../" in parts.path + "/":
        raise ValueError("the path of a base URL has characters that it must not have")
    host, literal = _host(parts.hostname or "", parts.netloc.startswith("["))
    if literal and (reason := judge(literal, allowed)):
        raise ValueError(f"{host} must not be reached: {reason}; an operator can allow its network")
    return Origin(
        scheme=parts.scheme,
        host=host,
        port=_PORTS[parts.scheme] if parts.port is None else _port(parts.port),
        path=parts.path.rstrip("/"),
        allowed=allowed,
        literal=literal is not None,
    )


def _port(port: int) -> int:
    if port == 0:
        raise ValueError("port 0 cannot be connected to")
    return port


def _host(host: str, bracketed: bool) -> tuple[str, IPv4Address | IPv6Address | None]:
    """The host in ASCII, and its address where it is one in canonical spelling.

    ``getaddrinfo`` takes 0x7f.1, 2130706433 and full-width digits for 127.0.0.1. The guard of the connected address
    would catch these all the same; here the operator can read why such a host is refused.
    """
    if bracketed:
        address = IPv6Address(host)
        if address.scope_id:
            raise ValueError("a base URL has no scope id")
        return str(address), address
    try:
        ascii_host = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError as error:
        raise ValueError("the host of a base URL is not a name that DNS knows") from error
    if len(ascii_host) > 253 or not _NAME.fullmatch(ascii_host):
        raise ValueError("the host of a base URL is not a name that DNS knows")
    last = ascii_host.rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):
        literal = IPv4Address(ascii_host)
        return str(literal), literal
    return ascii_host, None
