"""The model that a call may use: found by its exact name, allowed by its license, allowed to be charged for. Pure.

The decisions about licenses are the catalog's; here their "no" becomes an error.
"""

from datetime import datetime

from billing.money import Price
from catalog.models import Catalog
from catalog.permit import decide, may_charge
from catalog.values import Decision, Model, Status
from router.errors import LicenseRestricted, ModelNotAllowed, ModelNotFound, ModelNotLive
from router.values import Key

SHOWN = 100


def resolve(name: str, key: Key, catalog: Catalog) -> Model:
    """Raises ``ModelNotFound`` with the three nearest ids, ``ModelNotLive``, ``ModelNotAllowed``."""
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


def _not_found(name: str, key: Key, catalog: Catalog) -> ModelNotFound:
    nearest = catalog.nearest(name, key.models)
    hint = f" Did you mean {', '.join(f'`{near}`' for near in nearest)}?" if nearest else " GET /v1/models lists them."
    shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
    return ModelNotFound(
        f"The model `{shown}` does not exist or you do not have access to it.{hint}",
        param="model",
        details={"nearest": nearest},
    )


def _not_live(model: Model) -> ModelNotLive:
    if model.status is Status.COMING_SOON:
        said = (
            f"is announced but not served yet. Vote for it, POST /v1/models/{model.id}/vote: demand decides what "
            "comes next."
        )
    else:
        said = "is retired and no longer served. GET /v1/models lists the models that are."
    return ModelNotLive(f"The model `{model.id}` {said}", param="model", details={"status": model.status.value})
