"""Pure. Decides whether a use may have a model, whether it may be charged for, and whether its weights may be changed.

The same functions answer for calls, the pages, the admin API and the audit log.
"""

from datetime import datetime
from functools import lru_cache

from catalog.claims import Standing, combine
from catalog.terms import Terms
from catalog.values import Claim, Decision, Model, Resolution, Term, Use, Waiver

_TERM_OF_USE = {
    Use.COMMERCIAL: Term.COMMERCIAL_USE,
    Use.NON_COMMERCIAL: Term.NON_COMMERCIAL_USE,
    Use.RESEARCH: Term.RESEARCH_USE,
}

_USE_NAMES = {
    Use.COMMERCIAL: "commercial use",
    Use.NON_COMMERCIAL: "non-commercial use",
    Use.RESEARCH: "research use",
}


def decide(model: Model, use: Use, accepted: frozenset[str], now: datetime, region: str | None = None) -> Decision:
    """Whether a key that declares this use, of an account that accepted these license texts, may call the model.

    ``accepted`` has tokens as :func:`catalog.terms.acceptance_token` makes them; ``region`` is the account's ISO 3166
    code. None where it is not known: a license that is limited by region refuses that.
    """
    waived = in_force(model.waivers, now)
    return _decide(model.id, model.owned_by, model.claims, model.resolution, waived, use, accepted, region)


def may_charge(model: Model, now: datetime) -> Decision:
    """Whether money may be asked for the model. If not, it can be live only at price zero."""
    standing = combine(model.claims, model.resolution)
    if not standing.is_known:
        return _unknown(standing)
    waived = in_force(model.waivers, now)
    if standing.charging:
        return _yes(standing, model, f"{standing.license} permits charging.")
    if lifting := waived & {Term.CHARGING, Term.COMMERCIAL_USE}:
        return _yes(standing, model, f"{standing.license} forbids charging; lifted by a waiver of {min(lifting)}.")
    return _no(
        standing,
        Term.CHARGING,
        f"{standing.license} forbids asking money for the model.",
        "A recorded waiver of `charging`, the licensor's or the operator's own signed decision, lifts it; "
        "without one the price must be zero.",
    )


def may_change_weights(model: Model, now: datetime) -> Decision:
    """Whether a quantized, pruned, merged or fine-tuned variant may be served under the model's name."""
    standing = combine(model.claims, model.resolution)
    if not standing.is_known:
        return _unknown(standing)
    if standing.derivatives:
        return _yes(standing, model, f"{standing.license} permits changed weights.")
    if Term.DERIVATIVES in in_force(model.waivers, now):
        return _yes(standing, model, f"{standing.license} forbids changed weights; lifted by a waiver of derivatives.")
    return _no(
        standing,
        Term.DERIVATIVES,
        f"{standing.license} forbids serving quantized, pruned or fine-tuned weights under the model's name.",
        "A recorded waiver of `derivatives` lifts it.",
    )


def in_force(waivers: tuple[Waiver, ...], now: datetime) -> frozenset[Term]:
    """The terms that are waived at an instant."""
    if not waivers:
        return frozenset()
    return frozenset(
        waiver.term
        for waiver in waivers
        if waiver.signed_at <= now and (waiver.expires_at is None or now < waiver.expires_at)
    )


@lru_cache(maxsize=4096)  # every call decides, and few decisions differ
def _decide(
    model_id: str,
    owned_by: str,
    claims: tuple[Claim, ...],
    resolution: Resolution | None,
    waived: frozenset[Term],
    use: Use,
    accepted: frozenset[str],
    region: str | None,
) -> Decision:
    standing = combine(claims, resolution)
    if not standing.is_known:
        return _unknown(standing)
    term = _TERM_OF_USE[use]
    if use not in standing.uses and term not in waived:
        forbidding = " and ".join(standing.forbidding(use))
        lifted_by = f"A key that declares {_permitted(standing)}, or a recorded waiver of `{term}`, lifts it."
        return _no(
            standing, term, f"{forbidding} does not permit {_USE_NAMES[use]}.", _with_resolution(standing, lifted_by)
        )
    missing = [terms for terms in standing.acceptances if terms.acceptance_token not in accepted]
    if missing:
        return _no(standing, Term.ACCEPTANCE, *_acceptance(missing[0]))
    if standing.regions_denied and (region is None or region in standing.regions_denied):
        location = "where the account is is not recorded" if region is None else f"the account is in {region}"
        denied = ", ".join(sorted(standing.regions_denied))
        return _no(
            standing,
            Term.REGION,
            f"{standing.license} grants nothing in {denied}, and {location}.",
            "An account with a recorded country outside of them may use the model.",
        )
    reason = f"{standing.license} permits {_USE_NAMES[use]}."
    if use not in standing.uses:
        reason = f"{standing.license} does not permit {_USE_NAMES[use]}; lifted by a waiver of {term}."
    return _permits(standing, model_id, owned_by, reason)


def _permitted(standing: Standing) -> str:
    return " or ".join(f"`{use}`" for use in Use if use in standing.uses) or "a permitted use (there is none)"


def _with_resolution(standing: Standing, lifted_by: str) -> str:
    return f"{lifted_by} So may an operator's resolution of the conflicting claims." if standing.conflict else lifted_by


def _acceptance(terms: Terms) -> tuple[str, str]:
    return (
        f"{terms.id} must be accepted before use, and the account has not accepted its text of {terms.acceptance}.",
        f"An owner of the account accepts {terms.name} ({terms.url}), version {terms.acceptance}.",
    )


def _unknown(standing: Standing) -> Decision:
    if standing.licenses:
        reason = f"The terms of {' and '.join(standing.unknown)} are not known here, so nothing is permitted."
    else:
        reason = "No license is recorded for the model, so nothing is permitted."
    lifted_by = "An operator resolves the claims to a known license, or adds the license's terms."
    return _no(standing, Term.KNOWN_LICENSE, reason, lifted_by)


def _no(standing: Standing, term: Term, reason: str, lifted_by: str) -> Decision:
    reasons = (reason, standing.disagreement) if standing.conflict else (reason,)
    return Decision(
        allowed=False,
        license=standing.license,
        reasons=reasons,
        term=term,
        lifted_by=lifted_by,
        conflict=standing.conflict,
    )


def _yes(standing: Standing, model: Model, reason: str) -> Decision:
    return _permits(standing, model.id, model.owned_by, reason)


def _permits(standing: Standing, model_id: str, owned_by: str, reason: str) -> Decision:
    return Decision(
        allowed=True,
        license=standing.license,
        reasons=(reason, standing.disagreement) if standing.conflict else (reason,),
        conflict=standing.conflict,
        attribution=_attribution(standing, model_id, owned_by),
    )


def _attribution(standing: Standing, model_id: str, owned_by: str) -> str | None:
    """One line for the page and a header of the answer, hence ASCII."""
    if not standing.attribution:
        return None
    texts = ", ".join(f"{terms.id} <{terms.url}>" for terms in standing.attribution)
    return f"{model_id} by {owned_by}, {texts}".encode("ascii", "replace").decode("ascii")
