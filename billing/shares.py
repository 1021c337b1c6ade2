"""Pure. Which grants paid which part of an entry, and how the charge of a call came about."""

from collections.abc import Sequence

import msgspec

from billing.money import NanoUSD, cost_ceil
from store.ids import GrantId

FEMTO_PER_NANO = 1_000_000


class GrantShare(msgspec.Struct, frozen=True):
    """How much of an entry, or of a call, one grant paid; of a grant that is given: how much it gave."""

    grant: GrantId
    kind: str
    amount: NanoUSD


class ChargeDetail(msgspec.Struct, frozen=True):
    """What one call was charged, to be recomputed: the grants that paid, in the order of spending, and the rounding.

    ``exact_femto`` is tokens times price in 10^-15 USD, which is a millionth of a nano-dollar, and ``rounded_up_femto``
    what rounding added; ``forgiven`` is what the call came to beyond what it held. ``grants`` is None where the calls
    of its entry could not all be found.
    """

    grants: tuple[GrantShare, ...] | None
    exact_femto: int
    rounded_up_femto: int
    forgiven: NanoUSD


def charge_detail(
    tokens: int, nano_per_mtok: int, cost: NanoUSD, grants: tuple[GrantShare, ...] | None
) -> ChargeDetail:
    """Recompute the cost of a call from its tokens and price."""
    exact, rounded = tokens * nano_per_mtok, cost_ceil(tokens, nano_per_mtok)
    return ChargeDetail(grants, exact, rounded * FEMTO_PER_NANO - exact, NanoUSD(rounded - cost))


def share(grants: Sequence[GrantShare], starts: int, ends: int) -> tuple[GrantShare, ...]:
    """Which grants paid the span ``[starts, ends)`` of an entry, which they paid one after the other."""
    found: list[GrantShare] = []
    begins = 0
    for grant in grants:
        taken = min(ends, begins + grant.amount) - max(starts, begins)
        if taken > 0:
            found.append(GrantShare(grant.grant, grant.kind, NanoUSD(taken)))
        begins += grant.amount
    return tuple(found)
