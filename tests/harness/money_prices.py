"""Pure. What a call must cost by what was agreed with its account: the oracle's other part, with fractions alone."""

import math
from fractions import Fraction

import msgspec


class Charged(msgspec.Struct):
    """A call: its price per million tokens, and what that was made of: a percentage off a list price, or neither."""

    nano_per_mtok: int
    agreed: tuple[int | None, int | None] | None = None
    tokens: int = 0

    @property
    def cost(self) -> int:
        return math.ceil(Fraction(self.tokens * self.nano_per_mtok, 10**6))


class Agreed(msgspec.Struct):
    """What contracts say now: the model's price, or hundredths of a percent off the model's list price or off all."""

    price: int | None = None
    off: int | None = None
    off_all: int | None = None

    def price_of(self, listed: int) -> Charged:
        if self.price is not None:
            return Charged(self.price, (None, None))
        off = self.off_all if self.off is None else self.off
        if off is None:
            return Charged(listed)
        return Charged(round(Fraction(listed * (10_000 - off), 10_000)), (off, listed))
