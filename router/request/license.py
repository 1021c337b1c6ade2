"""The line's license step: a decision of the catalogue, and the one place where its "no" becomes an error."""

from datetime import datetime

from billing.money import Price
from catalog.permit import decide, may_charge
from catalog.values import Decision, Model
from router.errors import LicenseRestricted
from router.values import Key


def permit(model: Model, key: Key, now: datetime) -> Decision:
    """May this key use this model? Raises ``LicenseRestricted``, which names the term and what would lift it.

    The decision is given back for its attribution, which the answer carries.
    """
    decision = decide(model, key.use, key.accepted, now)
    if not decision.allowed:
        raise LicenseRestricted(
            f"This API key may not use `{model.id}`: {' '.join(decision.reasons)} {decision.lifted_by}",
            param="model",
            details={
                "license": decision.license,
                "term": decision.term,
                "use": key.use.value,
                "conflict": decision.conflict,
                "lifted_by": decision.lifted_by,
            },
        )
    return decision


def permit_charge(model: Model, price: Price, now: datetime) -> None:
    """May money be asked for this model, now? A waiver can end, and a claim can arrive, while the model is live.

    Raises ``LicenseRestricted``; at price zero nothing is asked.
    """
    if price.nano_per_mtok == 0:
        return
    decision = may_charge(model, now)
    if not decision.allowed:
        raise LicenseRestricted(
            f"`{model.id}` cannot be sold at the moment: {' '.join(decision.reasons)} Nothing was charged; the "
            "operator has to renew the waiver or to set the price to zero.",
            param="model",
            details={"license": decision.license, "term": decision.term, "conflict": decision.conflict},
        )
