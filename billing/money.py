"""Pure. Money as integers of nano-USD, and every place where a number is rounded.

1 USD = 1,000,000,000 nano-USD. A price is nano-USD per 1,000,000 tokens, so $0.008 per 1M tokens is 8,000,000. No float
touches money anywhere; text becomes an amount through :func:`from_usd` and back through :func:`to_usd`.
"""

from datetime import datetime
from typing import NewType

import msgspec

from store.ids import ContractId, ModelId, PriceId, TermId

NanoUSD = NewType("NanoUSD", int)
Tokens = NewType("Tokens", int)

NANO_PER_USD = 1_000_000_000
TOKENS_PER_PRICE = 1_000_000

# What a double holds exactly with room to add two of them: Redis scripts compute in doubles (2^53 = 9.007e15).
MAX_AMOUNT = NanoUSD(9_000_000_000_000_000)
MAX_INT64 = 2**63 - 1
# What the columns of counts hold.
MAX_INT32 = 2**31 - 1


class Agreement(msgspec.Struct, frozen=True):
    """Which term of which contract made a price: a part off a list price, or a price of its own (both None)."""

    contract_id: ContractId
    term_id: TermId
    percent_off: int | None = None
    list_nano_per_mtok: int | None = None
    list_batch_nano_per_mtok: int | None = None


class Price(msgspec.Struct, frozen=True):
    """What a customer pays for a model from an instant on; a change is a new row, never an edit.

    ``batch_nano_per_mtok`` is the batch lane's discounted price; None where there is no discount. ``agreement`` is
    there where it is one account's.
    """

    id: PriceId
    model_id: ModelId
    nano_per_mtok: int
    effective_at: datetime
    batch_nano_per_mtok: int | None = None
    agreement: Agreement | None = None


def batch_price(price: Price) -> Price:
    """The price of the batch lane, where that is another."""
    if price.batch_nano_per_mtok is None:
        return price
    agreement = price.agreement
    if agreement is not None:
        agreement = msgspec.structs.replace(agreement, list_nano_per_mtok=agreement.list_batch_nano_per_mtok)
    return msgspec.structs.replace(price, nano_per_mtok=price.batch_nano_per_mtok, agreement=agreement)


def price_at(prices: list[Price], at: datetime) -> Price | None:
    """The price in force at ``at``, of a model's prices in the order of their instants."""
    current = None
    for price in prices:
        if price.effective_at > at:
            break
        current = price
    return current


def cost_ceil(tokens: int, nano_per_mtok: int) -> NanoUSD:
    """The cost of one call: rounded up, once per call, never per input.

    Raises ``OverflowError`` past the ledger's int64, ``ValueError`` for a negative argument.
    """
    if tokens < 0 or nano_per_mtok < 0:
        raise ValueError("tokens and price are never negative; this is a bug")
    cost = -(-tokens * nano_per_mtok // TOKENS_PER_PRICE)
    if cost > MAX_INT64:
        raise OverflowError("the cost of one call does not fit the ledger's int64")
    return NanoUSD(cost)


def half_even(numerator: int, denominator: int) -> int:
    """The nearest integer to a fraction, the even one of two that are equally near."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def from_usd(text: str) -> NanoUSD:
    """Parse an amount: ``"25.00"`` -> 25_000_000_000. At most nine decimals; anything else raises ``ValueError``."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    whole, _, fraction = digits.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (
        ("." in digits) and not (fraction.isascii() and fraction.isdigit())
    ):
        raise ValueError(f"{text!r} is not an amount in USD such as 25.00")
    if len(fraction) > 9:
        raise ValueError(f"{text!r} has more than nine decimals; the smallest amount is 0.000000001 USD")
    amount = sign * (int(whole) * NANO_PER_USD + int(fraction.ljust(9, "0")))
    if abs(amount) > MAX_INT64:
        raise ValueError(f"{text!r} is more than the ledger can hold")
    return NanoUSD(amount)


def to_usd(amount: int) -> str:
    """Write an amount: 25_000_000_000 -> ``"25.00"``; exact, at least two decimals, no trailing zeros beyond them."""
    whole, fraction = divmod(abs(amount), NANO_PER_USD)
    decimals = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}{whole}.{decimals}"


def femto_to_usd(amount: int) -> str:
    """Write an amount of 10^-15 USD, which are never negative: exact, at least two decimals."""
    whole, fraction = divmod(amount, NANO_PER_USD * TOKENS_PER_PRICE)
    return f"{whole}.{f'{fraction:015d}'.rstrip('0').ljust(2, '0')}"
