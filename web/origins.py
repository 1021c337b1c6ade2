"""Decides which Host, Origin and forwarded address of a request is believed: those that are configured. Pure."""

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import msgspec

from router.networks import Network, client_address

Networks = tuple[Network, ...]
DEFAULT_PORTS = {"http": 80, "https": 443}


class Origins(msgspec.Struct, frozen=True):
    """Where the pages are: ``public`` is the origin that links and mails have, ``all`` those that a browser may send.

    ``proxies`` are the networks from which ``X-Forwarded-For`` is believed.
    """

    public: str
    all: frozenset[str]
    proxies: Networks = ()

    @classmethod
    def of(cls, url: str, further: Iterable[str] = (), proxies: Networks = ()) -> "Origins":
        """The origins of an address such as ``https://router.example``, and of further ones."""
        public = _origin(url)
        return cls(public, frozenset({public, *map(_origin, further)}), proxies)

    @property
    def is_tls(self) -> bool:
        """Whether browsers reach us by TLS."""
        return self.public.startswith("https:")

    def has_host(self, host: str) -> bool:
        """Whether a Host header names us."""
        name = host.lower()
        return any(f"{scheme}://{_without_port(name, port)}" in self.all for scheme, port in DEFAULT_PORTS.items())

    def client(self, peer: str, forwarded: str) -> str:
        """The address of a request's client: the peer's, or what a trusted proxy says; as the API finds it."""
        return client_address(peer, forwarded, self.proxies) or ""


def allowed_write(method: str, site: str, origin: str, origins: Origins) -> bool:
    """Whether a request may write: Fetch Metadata says that a page of ours sent it.

    ``same-site`` is another port or a sibling name, whose forms carry our Lax cookie. A browser without that header
    says its Origin; a request with neither is refused.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return True
    if site:
        return site == "same-origin"
    return origin in origins.all


def loopback_urls(host: str, port: int) -> Sequence[str]:
    """The addresses at which a browser on this machine finds what listens on ``host``."""
    names = {"127.0.0.1", "localhost", "[::1]"}
    if host not in ("0.0.0.0", "::", ""):  # noqa: S104 - a comparison, not a bind
        names.add(f"[{host}]" if ":" in host else host)
    return [f"http://{name}:{port}" for name in sorted(names)]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{_without_port(parts.netloc.lower(), DEFAULT_PORTS.get(parts.scheme, 0))}"


def _without_port(host: str, port: int) -> str:
    return host.removesuffix(f":{port}")
