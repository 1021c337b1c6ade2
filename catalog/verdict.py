"""Pure. Says what a model's license record means for a reader: what sources claim, what holds, and what would lift it.

Every sentence is made from :mod:`catalog.permit`'s decisions, which calls get too; nobody types one.
"""

from collections.abc import Iterable
from datetime import date, datetime
from enum import StrEnum
from typing import Final

import msgspec

from catalog.claims import Standing, combine
from catalog.permit import decide, may_change_weights, may_charge
from catalog.terms import find
from catalog.values import Decision, Model, Resolution, Term, Use

_NONE_ACCEPTED: Final[frozenset[str]] = frozenset()


class Chip(StrEnum):
    """The license in two words, for lists. It never has a license's name: a name alone would hide a conflict."""

    PERMITTED = "commercial use permitted"
    NON_COMMERCIAL = "non-commercial only"
    CONFLICT = "claims conflict"
    ACCEPTANCE = "needs acceptance"
    UNKNOWN = "unknown"

    @property
    def kind(self) -> str:
        """One word for addresses and classes."""
        return _KINDS[self]


_KINDS: Final = dict(zip(Chip, ("commercial", "noncommercial", "conflict", "acceptance", "unknown"), strict=True))


class StatedLicense(msgspec.Struct, frozen=True):
    """One row of the table of claims. ``settled`` says that a resolution has ruled on it."""

    license: str
    name: str
    url: str
    source: str
    evidence: str
    claimed_on: date
    settled: bool


class UseVerdict(msgspec.Struct, frozen=True):
    """What holds for one use, or for one thing that we may do."""

    what: str
    allowed: bool
    reasons: tuple[str, ...]
    lifted_by: str
    attribution: str | None


class KeyUse(msgspec.Struct, frozen=True):
    """What the verdict for one key rests on: what it declares, and what its account accepted and where that is."""

    name: str
    use: Use
    accepted: frozenset[str]
    region: str | None = None


class KeyVerdict(msgspec.Struct, frozen=True):
    """What holds for one key."""

    name: str
    use: Use
    verdict: UseVerdict


class Verdict(msgspec.Struct, frozen=True):
    """All that a reader is told of a model's license.

    ``license`` is the SPDX expression that binds now. ``uses`` has one verdict for each use, ``charging`` says whether
    money may be asked, ``weights`` whether changed weights may be served under the name. ``acceptances`` are the
    licenses whose text an account accepts first, as id and name.
    """

    chip: Chip
    license: str
    conflict: bool
    disagreement: str
    claims: tuple[StatedLicense, ...]
    resolution: Resolution | None
    uses: tuple[UseVerdict, ...]
    charging: UseVerdict
    weights: UseVerdict
    acceptances: tuple[tuple[str, str], ...]
    conditions: tuple[str, ...]
    estimate: str
    question: str
    answer: str


def verdict_of(model: Model, now: datetime) -> Verdict:
    """What holds for a reader whose keys are not known: no text is accepted, and no country is recorded."""
    standing = combine(model.claims, model.resolution)
    decisions = {use: decide(model, use, _NONE_ACCEPTED, now) for use in Use}
    charging = may_charge(model, now)
    uses = tuple(_verdict(_WORDS[use], decision) for use, decision in decisions.items())
    return Verdict(
        chip=_chip(standing, decisions),
        license=standing.license,
        conflict=standing.conflict,
        disagreement=standing.disagreement,
        claims=tuple(_stated(model)),
        resolution=model.resolution,
        uses=uses,
        charging=_verdict("asking money", charging),
        weights=_verdict("changed weights", may_change_weights(model, now)),
        acceptances=tuple((terms.id, terms.name) for terms in standing.acceptances),
        conditions=_conditions(standing),
        estimate=_estimate(model, charging),
        question=f"May {model.id.partition('/')[2]} be used commercially?",
        answer=_answer(standing, decisions),
    )


def chip_of(model: Model, now: datetime) -> Chip:
    """The license in two words."""
    standing = combine(model.claims, model.resolution)
    return _chip(standing, {use: decide(model, use, _NONE_ACCEPTED, now) for use in Use})


def verdicts_of_keys(model: Model, keys: Iterable[KeyUse], now: datetime) -> tuple[KeyVerdict, ...]:
    """What holds for each of a reader's keys, in their order."""
    return tuple(
        KeyVerdict(key.name, key.use, _verdict(_WORDS[key.use], decide(model, key.use, key.accepted, now, key.region)))
        for key in keys
    )


_WORDS: Final = {
    Use.COMMERCIAL: "commercial use",
    Use.NON_COMMERCIAL: "non-commercial use",
    Use.RESEARCH: "research use",
}


def _verdict(what: str, decision: Decision) -> UseVerdict:
    # That sources disagree is said once, above all of them.
    return UseVerdict(what, decision.allowed, decision.reasons[:1], decision.lifted_by, decision.attribution)


def _chip(standing: Standing, decisions: dict[Use, Decision]) -> Chip:
    commercial = decisions[Use.COMMERCIAL]
    if standing.conflict:
        return Chip.CONFLICT
    if commercial.term == Term.KNOWN_LICENSE:
        return Chip.UNKNOWN
    if commercial.allowed:
        return Chip.PERMITTED
    # A use that the license permits waits for an acceptance, or for a country that the account has not recorded.
    return Chip.NON_COMMERCIAL if commercial.term == Term.COMMERCIAL_USE else Chip.ACCEPTANCE


def _stated(model: Model) -> Iterable[StatedLicense]:
    for claim in model.claims:
        terms = find(claim.license)
        yield StatedLicense(
            license=claim.license,
            name=claim.license if terms is None else terms.name,
            url="" if terms is None else terms.url,
            source=claim.source,
            evidence=claim.evidence,
            claimed_on=claim.claimed_on,
            settled=claim.resolved,
        )


def _conditions(standing: Standing) -> tuple[str, ...]:
    known = (find(name) for name in standing.licenses)
    return tuple(dict.fromkeys(condition for terms in known if terms is not None for condition in terms.conditions))


def _estimate(model: Model, charging: Decision) -> str:
    """What the estimate is worth where money may not be asked."""
    if model.estimate is None or charging.allowed:
        return ""
    return "Money may not be asked for this model without a recorded waiver, so the estimate of its price is no offer."


def _answer(standing: Standing, decisions: dict[Use, Decision]) -> str:
    commercial = decisions[Use.COMMERCIAL]
    sentences = ["Yes." if commercial.allowed else "No.", *commercial.reasons]
    if not commercial.allowed:
        sentences.append(commercial.lifted_by)
        others = [use for use in (Use.RESEARCH, Use.NON_COMMERCIAL) if decisions[use].allowed]
        if others:
            named = " and ".join(_WORDS[use] for use in others)
            ending = ", with attribution" if standing.attribution else ""
            sentences.append(f"{named.capitalize()}: yes{ending}.")
    return " ".join(filter(None, sentences))
