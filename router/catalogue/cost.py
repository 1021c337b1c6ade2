"""Reckons what a use of a model would cost, and what its vectors take to store, exactly. Pure."""

from typing import Final

import msgspec

TOKENS_MAX: Final = 10**15
VECTORS_MAX: Final = 10**12
MILLION: Final = 1_000_000
# Bytes of a number.
BYTES: Final = {"float32": 4, "int8": 1}


class Storage(msgspec.Struct, frozen=True):
    """Bytes of so many vectors of one width, without an index's own."""

    dimensions: int
    float32_bytes: int
    int8_bytes: int


class Cost(msgspec.Struct, frozen=True):
    """What so many tokens cost, in nano-USD, rounded up as a charge is; None where the lane has no price."""

    tokens: int
    list_nano: int | None
    batch_nano: int | None


def cost_of(tokens: int, nano_per_mtok: int | None, batch_nano_per_mtok: int | None) -> Cost:
    """The cost of ``tokens`` in one sum, by lane; a lane without a price of its own costs what the other does."""
    batch = nano_per_mtok if batch_nano_per_mtok is None else batch_nano_per_mtok
    return Cost(tokens, _rounded_up(tokens, nano_per_mtok), _rounded_up(tokens, batch))


def storage_of(vectors: int, widths: tuple[int, ...]) -> tuple[Storage, ...]:
    """What ``vectors`` take at each width, the widest first."""
    return tuple(
        Storage(width, vectors * width * BYTES["float32"], vectors * width * BYTES["int8"])
        for width in sorted(widths, reverse=True)
    )


def _rounded_up(tokens: int, nano_per_mtok: int | None) -> int | None:
    return None if nano_per_mtok is None else -(-tokens * nano_per_mtok // MILLION)
