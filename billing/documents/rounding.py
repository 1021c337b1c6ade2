"""Pure. Makes cents of nano-dollars, once per document: by half-even, shared over its lines so that they add up."""

from collections.abc import Sequence

from billing.money import half_even

__all__ = ["NANO_PER_CENT", "cents_of", "half_even", "share_cents", "tax_cents"]

NANO_PER_CENT = 10_000_000


def cents_of(nano: int) -> int:
    """Cents of an amount."""
    return half_even(nano, NANO_PER_CENT)


def share_cents(amounts_nano: Sequence[int]) -> list[int]:
    """Cents for each amount, that sum to the cents of their sum: each is less than a cent off, whole cents never are.

    The cents that rounding down leaves go to the largest rests, of equal ones to the first.
    """
    shares = [divmod(amount, NANO_PER_CENT) for amount in amounts_nano]
    left = cents_of(sum(amounts_nano)) - sum(whole for whole, _ in shares)
    by_rest = sorted(range(len(shares)), key=lambda place: -shares[place][1])
    ahead = set(by_rest[:left])
    return [whole + (place in ahead) for place, (whole, _) in enumerate(shares)]


def tax_cents(net_cents: int, rate: int) -> int:
    """The tax on a net amount at a rate in hundredths of a percent."""
    return half_even(net_cents * rate, 10_000)
