"""Pure. Compares the lines of a provider's invoice with what our calls cost there, by model and day.

What is billed beyond our cost is explained as far as attempts that nobody was delivered may have cost it. The rest is a
difference, unless it is within the tolerance of the provider's map.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum

import msgspec

from billing.money import NanoUSD, to_usd
from billing.reconciliation.values import Found, Kind

Place = tuple[str, date | None]


class Verdict(StrEnum):
    """How a model's day on an invoice compares with ours."""

    EQUAL = "equal"
    UNDELIVERED = "undelivered"
    BILLED_MORE = "billed_more"
    BILLED_LESS = "billed_less"
    NOT_BILLED = "not_billed"
    UNKNOWN_MODEL = "unknown_model"


class Billed(msgspec.Struct, frozen=True):
    """What a provider bills for a model and day; ``is_known``: an endpoint of ours has that name there."""

    model: str
    day: date | None
    amount: NanoUSD
    tokens: int | None
    is_known: bool = True


class Used(msgspec.Struct, frozen=True):
    """What our calls of a model and day cost at a provider; ``undelivered`` is what other attempts may have cost."""

    model: str
    day: date | None
    cost: NanoUSD
    tokens: int
    undelivered: NanoUSD = NanoUSD(0)


class Compared(msgspec.Struct, frozen=True):
    """A model and day on both sides. ``difference`` is what nothing explains: billed less cost less undelivered."""

    model: str
    day: date | None
    billed: NanoUSD
    cost: NanoUSD
    undelivered: NanoUSD
    difference: NanoUSD
    billed_tokens: int | None
    tokens: int
    verdict: Verdict


class ModelNames(msgspec.Struct, frozen=True):
    """What a provider's names of models, and our own, are compared under."""

    theirs: dict[str, str]
    ours: dict[str, str]


_KINDS = {
    Verdict.BILLED_MORE: Kind.BILLED_MORE,
    Verdict.BILLED_LESS: Kind.BILLED_LESS,
    Verdict.NOT_BILLED: Kind.NOT_BILLED,
    Verdict.UNKNOWN_MODEL: Kind.UNKNOWN_MODEL,
}


def group_models(pairs: Iterable[tuple[str, str]]) -> ModelNames:
    """The names under which both sides are compared, from pairs of our model and the provider's name of it.

    Models that share a name there cannot be told apart on an invoice, so they are compared together.
    """
    groups: list[tuple[set[str], set[str]]] = []
    for model, upstream in pairs:
        joined = [group for group in groups if model in group[0] or upstream in group[1]]
        groups = [group for group in groups if group not in joined]
        groups.append(
            ({model}.union(*(group[0] for group in joined)), {upstream}.union(*(group[1] for group in joined)))
        )
    names = {id(group): " + ".join(sorted(group[0])) for group in groups}
    return ModelNames(
        theirs={upstream: names[id(group)] for group in groups for upstream in group[1]},
        ours={model: names[id(group)] for group in groups for model in group[0]},
    )


def compare(billed: Iterable[Billed], used: Iterable[Used], tolerance: NanoUSD) -> list[Compared]:
    """Both sides by model and day, sorted. An invoice with a line of no day is compared by model alone."""
    lines = list(billed)
    by_day = all(line.day is not None for line in lines)
    theirs: dict[Place, Billed] = {}
    for line in lines:
        place = (line.model, line.day if by_day else None)
        theirs[place] = _add_billed(theirs.get(place), line, place[1])
    ours: dict[Place, Used] = {}
    for one in used:
        place = (one.model, one.day if by_day else None)
        ours[place] = _add_used(ours.get(place), one, place[1])
    places = sorted(theirs.keys() | ours.keys(), key=lambda place: (place[0], place[1] or date.min))
    return [_compared(place, theirs, ours, tolerance) for place in places]


def differences(compared: Iterable[Compared], invoice: str) -> list[Found]:
    """The lines that nothing explains, for the queue. ``invoice`` names provider and number."""
    return [
        Found(
            _KINDS[one.verdict],
            ":".join(filter(None, (invoice, str(one.day or ""), one.model))),
            one.difference,
            f"billed {to_usd(one.billed)}, our calls cost {to_usd(one.cost)}"
            + (f", others may have cost {to_usd(one.undelivered)}" if one.undelivered else ""),
        )
        for one in compared
        if one.verdict in _KINDS
    ]


def _compared(place: Place, theirs: Mapping[Place, Billed], ours: Mapping[Place, Used], tolerance: NanoUSD) -> Compared:
    bill, use = theirs.get(place), ours.get(place)
    billed, cost = (bill.amount if bill else 0), (use.cost if use else 0)
    room = use.undelivered if use else 0
    off = billed - cost
    # Attempts explain what is billed beyond our cost, and never what is missing.
    explained = min(max(off, 0), room)
    left = off - explained
    if abs(left) <= tolerance:
        verdict = Verdict.UNDELIVERED if explained > tolerance else Verdict.EQUAL
    elif bill is None:
        verdict = Verdict.NOT_BILLED
    elif not bill.is_known:
        verdict = Verdict.UNKNOWN_MODEL
    else:
        verdict = Verdict.BILLED_MORE if left > 0 else Verdict.BILLED_LESS
    return Compared(
        model=place[0],
        day=place[1],
        billed=NanoUSD(billed),
        cost=NanoUSD(cost),
        undelivered=NanoUSD(explained),
        difference=NanoUSD(left),
        billed_tokens=bill.tokens if bill else None,
        tokens=use.tokens if use else 0,
        verdict=verdict,
    )


def _add_billed(before: Billed | None, line: Billed, day: date | None) -> Billed:
    if before is None:
        return Billed(line.model, day, line.amount, line.tokens, line.is_known)
    tokens = None if before.tokens is None and line.tokens is None else (before.tokens or 0) + (line.tokens or 0)
    return Billed(line.model, day, NanoUSD(before.amount + line.amount), tokens, line.is_known)


def _add_used(before: Used | None, one: Used, day: date | None) -> Used:
    if before is None:
        return Used(one.model, day, one.cost, one.tokens, one.undelivered)
    return Used(
        one.model,
        day,
        NanoUSD(before.cost + one.cost),
        before.tokens + one.tokens,
        NanoUSD(before.undelivered + one.undelivered),
    )
