"""Checks from which networks a key may be used: an API key and a management key alike."""

from collections.abc import Callable, Iterable, Sequence

from router.errors import InvalidRequest, NetworkNotAllowed
from router.networks import NETWORKS_MAX, NetworkRange, has_address, network_of, parse_network


def require_network(networks: Sequence[NetworkRange], find_address: Callable[[], str | None]) -> None:
    """Raise ``NetworkNotAllowed`` where the key has networks, and none has the client's address.

    The message names the caller's own network and never the key's: whoever found the key would know where to call from.
    It stays in the log of calls, and so has no more of the address than the key's last use has.
    """
    if not networks:
        return
    address = find_address()
    if has_address(networks, address):
        return
    network = network_of(address)
    where = "an address that cannot be read" if network is None else f"the network {network}"
    raise NetworkNotAllowed(
        f"This key may be used from certain networks only, and the request comes from {where}, with an address that is "
        "in none of them. Send it from one of the key's networks, or let an owner of the account add yours.",
        details={"address": address},
    )


def canonical_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Networks as a key has them: in their usual form, each once. Raises ``InvalidRequest``."""
    try:
        found = tuple(dict.fromkeys(str(parse_network(text)) for text in texts))
    except ValueError as fault:
        raise InvalidRequest(f"A network is such as 203.0.113.0/24: {fault}.", param="networks") from fault
    if len(found) > NETWORKS_MAX:
        raise InvalidRequest(
            f"A key has at most {NETWORKS_MAX} networks; these are {len(found)}. Name larger ones.", param="networks"
        )
    return found
