"""The line's license step: a decision of the catalogue, and the one place where its "no" becomes an error."""

from datetime import datetime

from catalog.permit import decide
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
