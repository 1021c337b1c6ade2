"""Pure. Decides which addresses an outgoing connection may reach: the guard against server-side request forgery.

Base URLs are typed in by operators, and names resolve to whatever their owner likes, so the *connected* address is
judged. Public addresses pass; every other address needs a network that the operator allowed by configuration. No flag
of :mod:`ipaddress` will do: ``is_global`` is true for 64:ff9b::7f00:1, which is 127.0.0.1 behind NAT64.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Networks = tuple[IPv4Network | IPv6Network, ...]

# IANA's special-purpose registry, multicast and the reserved block; 168.63.129.16 is Azure's wire server.
DENIED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)

# Of IPv6 only 2000::/3 is public, and in it these are not: protocol assignments with Teredo, documentation, 6to4.
PUBLIC_V6 = IPv6Network("2000::/3")
DENIED_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))

# Where clouds hand out credentials. No allowed network, however wide, opens these.
METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "168.63.129.16",
        "192.0.0.192",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")


def networks(texts: list[str]) -> Networks:
    """Parse networks, e.g. ``["127.0.0.0/8", "::1/128"]``. Raises ``ValueError`` that names the bad one."""
    return tuple(ip_network(text, strict=True) for text in texts)


def refusal(address: str, allowed: Networks) -> str | None:
    """Why ``address`` (numeric, a scope id is ignored) must not be reached; None when it may be."""
    return judge(ip_address(address.partition("%")[0]), allowed)


def judge(address: IPv4Address | IPv6Address, allowed: Networks) -> str | None:
    """As :func:`refusal`, for a parsed address."""
    destination = _destination(address)
    if destination in METADATA or address in METADATA:
        return "it is a cloud's metadata service"
    if any(destination in network for network in allowed):
        return None
    if isinstance(destination, IPv4Address):
        return next((f"it is in {network}" for network in DENIED_V4 if destination in network), None)
    if destination not in PUBLIC_V6:
        return f"it is outside {PUBLIC_V6}"
    return next((f"it is in {network}" for network in DENIED_V6 if destination in network), None)


def is_allowed_network(address: str, allowed: Networks) -> bool:
    """Whether the operator's configuration names the address; that it is public does not count."""
    destination = _destination(ip_address(address.partition("%")[0]))
    return any(destination in network for network in allowed)


def _destination(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address to which packets for an IPv4-mapped or NAT64 one go; for others the address itself.

    6to4 and Teredo addresses are refused as they are, so the addresses inside them do not matter.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
