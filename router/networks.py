"""Reads network addresses and networks, and says which client an address is and whether a network has it. Pure.

An IPv4 address is the same whether a socket of IPv6 says it (``::ffff:203.0.113.7``) or one of IPv4, and whether or not
a proxy has written its port behind it: it is read here once, for limits, lists, and the networks of keys alike.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

import msgspec

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Of a key: each is looked at by each call from an address that the ones before it do not have.
NETWORKS_MAX: Final = 20
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_TEXT_MAX: Final = 64


class NetworkRange(msgspec.Struct, frozen=True):
    """A network as its first and last address, which a call compares in a third of the time of ``in``."""

    version: int
    first: int
    last: int


NO_NETWORKS: Final[tuple[NetworkRange, ...]] = ()


# Reading one takes 2 µs, and a client comes again.
@lru_cache(maxsize=4096)
def parse_address(text: str | None) -> Address | None:
    """The address of a text such as ``203.0.113.7``, ``203.0.113.7:4711`` or ``[2001:db8::7]:443``; None for others."""
    if not text:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address: Address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def parse_network(text: str) -> Network:
    """The network of a text such as ``203.0.113.0/24`` or ``2001:db8::/48``; a single address is a network of one.

    Raises ``ValueError``, for bits beyond the prefix too: whoever writes ``203.0.113.7/24`` may mean either.
    """
    address, slash, prefix = text.strip().partition("/")
    # The library takes masks, scopes and more, each of which somebody reads otherwise.
    if len(text) > _TEXT_MAX or "%" in address or (slash and not (prefix.isascii() and prefix.isdigit())):
        raise ValueError(text)
    network: Network = ip_network(f"{address}{slash}{prefix}", strict=True)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        first = network.network_address.ipv4_mapped
        return IPv4Network((int(first or 0), network.prefixlen - 96))
    return network


def ranges_of(networks: Iterable[Network]) -> tuple[NetworkRange, ...]:
    """Networks as a call compares them."""
    return tuple(_range(network) for network in networks)


def has_address(ranges: Sequence[NetworkRange], address: str | None) -> bool:
    """Whether one of the networks has an address, as text; an address that cannot be read is in none."""
    known = parse_address(address)
    if known is None:
        return False
    number, version = int(known), known.version
    return any(one.first <= number <= one.last and one.version == version for one in ranges)


def network_of(address: str | None, *, v6_prefix: int = 48) -> Network | None:
    """The network that an address is in: /24 of IPv4, /48 of IPv6; None for what is no address."""
    known = parse_address(address)
    if known is None:
        return None
    if isinstance(known, IPv6Address):
        return IPv6Network((int(known), v6_prefix), strict=False)
    return IPv4Network((int(known), 24), strict=False)


def client_address(peer: str | None, forwarded: str, proxies: Sequence[Network] | None) -> str | None:
    """The address of a request's client: the peer's, or what a trusted proxy says of it in ``X-Forwarded-For``.

    A client begins that header as it likes, and each proxy adds at its end whom it saw: it is read from the end, for as
    long as who speaks is in ``proxies``. With None a peer in a private network is one proxy, whose word is the last.
    """
    hops = [hop for part in forwarded.split(",") if (hop := part.strip())]
    if not hops or not peer:
        return peer
    if proxies is None:
        return hops[-1] if _is_private(peer) else peer
    address = peer
    while hops and _is_among(address, tuple(proxies)):
        address = hops.pop()
    return address


@lru_cache(maxsize=1024)
def _is_private(address: str) -> bool:
    known = parse_address(address)
    return known is not None and not known.is_global


def _is_among(address: str, networks: tuple[Network, ...]) -> bool:
    known = parse_address(address)
    return known is not None and any(known in network for network in networks)


def _range(network: Network) -> NetworkRange:
    return NetworkRange(network.version, int(network.network_address), int(network.broadcast_address))
