"""Compares the closing papers with the ledger: pairs of sums, each of the statements that were read. Pure."""

from collections.abc import Callable

import msgspec

from billing.close.pack_tables import FLOW, Found, other_revenue, total
from billing.money import NanoUSD, to_usd


class _Pair(msgspec.Struct, frozen=True):
    """Two sums of what some statements found, which are one where papers and ledger agree."""

    sentence: str
    reads: tuple[str, ...]
    sums: Callable[[Found], tuple[int, int]]


def _trial(found: Found, kind: str, column: str) -> int:
    return total(row[column] for row in found["trial"] if row["kind"] == kind)


def _sum(found: Found, name: str, column: str) -> int:
    return total(row[column] for row in found[name])


def _flow(name: str) -> _Pair:
    return _Pair(
        f"{name} of deferred revenue and of its ages",
        ("deferred", "aged"),
        lambda found: (_sum(found, "deferred", name), _sum(found, "aged", name)),
    )


_PAIRS = (
    _Pair("the trial balance and zero", ("trial",), lambda found: (_sum(found, "trial", "closing"), 0)),
    _Pair(
        "revenue by model and the ledger's",
        ("used", "other", "trial"),
        lambda found: (_sum(found, "used", "revenue") + other_revenue(found), _trial(found, "revenue", "movement")),
    ),
    _Pair(
        "deferred revenue and customers' credit",
        ("deferred", "trial"),
        lambda found: (_sum(found, "deferred", "closing"), _trial(found, "customer_credit", "closing")),
    ),
    _Pair(
        "cost by model and provider and the ledger's",
        ("used", "trial"),
        lambda found: (_sum(found, "used", "cost"), -_trial(found, "provider_cost", "movement")),
    ),
    _Pair(
        "tax by jurisdiction and the ledger's",
        ("tax", "trial"),
        lambda found: (_sum(found, "tax", "closing"), _trial(found, "tax_payable", "closing")),
    ),
    _Pair(
        "tax of the month and the ledger's",
        ("tax", "trial"),
        lambda found: (
            _sum(found, "tax", "charged") - _sum(found, "tax", "taken_off"),
            _trial(found, "tax_payable", "movement"),
        ),
    ),
    *(_flow(name) for name in FLOW),
)


def find_faults(found: Found) -> list[str]:
    """Where what was read is not one sum with the ledger. A pair of which a statement was not read is left out."""
    faults = []
    for pair in _PAIRS:
        if all(name in found for name in pair.reads):
            one, two = pair.sums(found)
            if one != two:
                faults.append(f"{pair.sentence} differ by {to_usd(NanoUSD(one - two))} USD")
    return [*faults, *(f"the numbers of {row['series']} have a gap" for row in found.get("gaps", ()))]
