"""Says which models a call would be served with now, by the pipeline's own steps up to its route.

Health that a wait cures (a breaker that is open, a quota that is used up, a model that is being loaded) does not take a
model off the list: the next call may be served.
"""

from datetime import datetime
from typing import Final

from catalog.permit import decide, may_charge
from catalog.values import Model, Status, Term, Use
from router.context import PlanningContext
from router.errors import Refusal
from router.request.estimate import price_of
from router.request.model import permit, permit_charge, resolve
from router.routing.filters import capability_exclusion
from router.values import Endpoint, Key

_CURED_BY_WAITING: Final = frozenset({"breaker", "paced", "warming"})
# What an account can do something about: it accepts a text, or its country is recorded.
_LIFTED_BY_ACCOUNTS: Final = frozenset({Term.ACCEPTANCE.value, Term.REGION.value})
_NONE_ACCEPTED: Final[frozenset[str]] = frozenset()


def is_usable(model: Model, key: Key, context: PlanningContext, now: datetime, now_s: float) -> bool:
    """Whether a call of the model with this key would be served. ``now_s`` is on the clock of the health."""
    try:
        resolve(model.id, key, context.catalog)
        permit(model, key, now)
        permit_charge(model, price_of(model, key, context.prices, now), now)
    except Refusal:
        return False
    return any(_may_serve(endpoint, model, context, now_s) for endpoint in context.endpoints.candidates(model, key))


def is_sold(model: Model, context: PlanningContext, now: datetime, now_s: float) -> bool:
    """Whether a call of the model with a key that its license permits would be served."""
    price = context.prices.current(model.id, now)
    if model.status not in (Status.LIVE, Status.DEPRECATED) or price is None:
        return False
    if price.nano_per_mtok and not may_charge(model, now).allowed:
        return False
    decisions = [decide(model, use, _NONE_ACCEPTED, now) for use in Use]
    if not any(decision.allowed or decision.term in _LIFTED_BY_ACCOUNTS for decision in decisions):
        return False
    return any(_may_serve(endpoint, model, context, now_s) for endpoint in context.endpoints.of_model(model))


def _may_serve(endpoint: Endpoint, model: Model, context: PlanningContext, now_s: float) -> bool:
    if capability_exclusion(endpoint, model) is not None:
        return False
    exclusion = context.health.exclusion(endpoint.id, now_s)
    return exclusion is None or exclusion[0] in _CURED_BY_WAITING
