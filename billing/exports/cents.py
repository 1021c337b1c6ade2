"""Pure. Makes journals in cents of balances in nano-dollars, so that what another program adds up stays right.

A line is not its own amount rounded, which would drift with every month: it is the cumulative balance in cents, less
what it was in cents before. So whatever was exported so far sums to the balance in cents, and is never more than half a
cent off. What the lines of a journal then lack to zero goes to ``rounding``.
"""

from collections.abc import Iterable, Mapping
from datetime import date

import msgspec

from billing.exports.formats import Grain

NANO_PER_CENT = 10_000_000


class Line(msgspec.Struct, frozen=True):
    """One line: positive is a debit."""

    code: str
    cents: int


class Journal(msgspec.Struct, frozen=True):
    """The lines of one day, or of a month that ends on it; they sum to zero."""

    day: date
    lines: tuple[Line, ...]


def cents_of(nano: int) -> int:
    """A balance in cents: half goes to the even one, also below zero."""
    whole, rest = divmod(nano, NANO_PER_CENT)
    return whole + (2 * rest > NANO_PER_CENT or (2 * rest == NANO_PER_CENT and whole % 2 == 1))


def carried(
    opening: Mapping[str, int], steps: Iterable[tuple[date, Mapping[str, int]]], rounding: str
) -> list[Journal]:
    """Journals of what moved at each step, in nano-dollars by code, after balances that were exported before.

    Amounts are as the ledger has them, credit positive; those of each step sum to zero.
    """
    balances = dict(opening)
    journals = []
    for day, moved in steps:
        assert sum(moved.values()) == 0, "a step of the ledger does not balance; this is a bug"
        lines = []
        for code in sorted(moved):
            before = balances.get(code, 0)
            balances[code] = before + moved[code]
            if code != rounding and (cents := cents_of(balances[code]) - cents_of(before)):
                lines.append(Line(code, -cents))
        if plug := -sum(line.cents for line in lines):
            lines.append(Line(rounding, plug))
        if lines:
            journals.append(Journal(day, tuple(lines)))
    return journals


def number_of(day: date, grain: Grain) -> str:
    """The number of a journal, the same each time that it is exported."""
    return f"GR{day:%Y%m}" if grain is Grain.MONTH else f"GR{day:%Y%m%d}"


def description_of(day: date, grain: Grain) -> str:
    """What a journal is called."""
    return f"gigarouter {day:%Y-%m}" if grain is Grain.MONTH else f"gigarouter {day:%Y-%m-%d}"
