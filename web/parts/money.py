"""Writes amounts of nano-USD: short for reading, exact to the nano for whoever looks closer. Pure."""

from billing.money import NANO_PER_USD, to_usd

MINUS = "\N{MINUS SIGN}"
CENT = NANO_PER_USD // 100


def exact(nano: int) -> str:
    """Every digit: 860160 -> ``$0.00086016``; at least two after the point."""
    text = to_usd(abs(nano))
    whole, _, fraction = text.partition(".")
    return f"{MINUS if nano < 0 else ''}${int(whole):,}.{fraction.ljust(2, '0')}"


def short(nano: int) -> str:
    """Two digits after the point; below a cent the first two that are not zero, cut: ``$0.00086``."""
    if nano == 0 or abs(nano) >= CENT:
        cents = (abs(nano) + CENT // 2) // CENT
        return f"{MINUS if nano < 0 else ''}${cents // 100:,}.{cents % 100:02d}"
    digits = f"{abs(nano):09d}"
    first = next(place for place, digit in enumerate(digits) if digit != "0")
    return f"{MINUS if nano < 0 else ''}$0.{digits[: first + 2].rstrip('0')}"
