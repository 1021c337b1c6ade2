"""Finds the model that a call names, and checks that its key may use it and that it may be charged for. Pure.

Names are exact, as the catalog writes them. The decisions about licenses are the catalog's; their "no" becomes an error
here.
"""

from datetime import datetime
from typing import Protocol

from billing.money import Price
from catalog.permit import decide, may_charge
from catalog.values import Decision, Model, Status
from router.errors import LicenseRestricted, ModelNotAllowed, ModelNotFound, ModelNotLive
from router.values import Key
from store.ids import ModelId

ECHO_CHARACTERS = 100


class Models(Protocol):
    """An index of the models, in memory."""

    def get(self, name: str) -> Model | None:
        """The model with this id or alias."""
        ...

    def nearest(self, name: str, among: frozenset[ModelId]) -> list[str]:
        """The ids most like ``name``, of ``among`` alone where it is not empty."""
        ...


def resolve(name: str, key: Key, catalog: Models) -> Model:
    """The model of that name, where the key may call it.

    Raises ``ModelNotFound`` with the three nearest ids, ``ModelNotLive``, ``ModelNotAllowed``.
    """
    model = catalog.get(name)
    if model is None:
        raise _not_found(name, key, catalog)
    if model.status in (Status.COMING_SOON, Status.RETIRED):
        raise _not_live(model)
    if key.models and model.id not in key.models:
        allowed = ", ".join(sorted(key.models))
        raise ModelNotAllowed(
            f"This API key may not use the model `{model.id}`. It may use: {allowed}. "
            "Change the key's list of models, or use another key.",
            param="model",
            details={"allowed": sorted(key.models)},
        )
    return model


def permit(model: Model, key: Key, now: datetime) -> Decision:
    """Check that the license lets this key use this model; returns the decision, whose attribution the answer carries.

    Raises ``LicenseRestricted``, which names the term and what would lift it.
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
    """Check that the license lets us charge for this model now: a waiver can end, a claim can arrive while it is live.

    Raises ``LicenseRestricted``; at price zero nothing is charged.
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


def _not_found(name: str, key: Key, catalog: Models) -> ModelNotFound:
    nearest = catalog.nearest(name, key.models)
    hint = f" Did you mean {', '.join(f'`{near}`' for near in nearest)}?" if nearest else " GET /v1/models lists them."
    echo = name if len(name) <= ECHO_CHARACTERS else f"{name[:ECHO_CHARACTERS]}…"
    return ModelNotFound(
        f"The model `{echo}` does not exist or you do not have access to it.{hint}",
        param="model",
        details={"nearest": nearest},
    )


def _not_live(model: Model) -> ModelNotLive:
    if model.status is Status.COMING_SOON:
        state = (
            f"is announced but not served yet. Vote for it, POST /v1/models/{model.id}/vote: demand decides what "
            "comes next."
        )
    else:
        place = f" {model.successor} takes its place." if model.successor else ""
        state = f"is retired and no longer served.{place} GET /v1/models lists the models that are."
    return ModelNotLive(f"The model `{model.id}` {state}", param="model", details={"status": model.status.value})
