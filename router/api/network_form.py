"""The form of a key's networks: lists of CIDR, as text that is written back in its usual form."""

from typing import Annotated, Final, TypeAlias

from router.api.fields import TextValue
from router.networks import NETWORKS_MAX, parse_network

NetworkText: TypeAlias = Annotated[
    str,
    TextValue(
        lambda text: str(parse_network(text)),
        str,
        "a network such as 203.0.113.0/24 or 2001:db8::/48 with no bits beyond its prefix, or one address",
    ),
]
NETWORKS: Final = (
    f"The networks from which it may be used, CIDR or single addresses, at most {NETWORKS_MAX}; empty: every one."
)
