"""Which endpoints a call may go to, in order, and why the others were left out. Pure."""

from collections.abc import Sequence

from router.errors import ModelWarming, NoEndpoint
from router.failures import warming
from router.health import Health
from router.values import Choice, Endpoint, EndpointState, Route


def choose(candidates: Sequence[Endpoint], space: str, health: Health, now: float) -> Route:
    """The live and healthy endpoints of one space, by priority. ``now`` is the loop's.

    Raises NoEndpoint, ModelWarming where an endpoint is only loading the model.
    """
    order: list[Endpoint] = []
    left_out: list[Choice] = []
    for endpoint in candidates:
        reason = _why_not(endpoint, space, health, now)
        if reason is None:
            order.append(endpoint)
        else:
            left_out.append(Choice(endpoint, reason))
    if not order:
        raise _nobody(left_out, health, now)
    if len(order) > 1:
        order.sort(key=lambda endpoint: (endpoint.priority, endpoint.cost_nano_per_mtok))
    return Route(tuple(order), tuple(left_out))


def _why_not(endpoint: Endpoint, space: str, health: Health, now: float) -> str | None:
    if endpoint.space != space:
        return "it serves another vector space"
    if endpoint.state is not EndpointState.LIVE:
        return f"it is {endpoint.state.value}"
    return health.left_out(endpoint.id, now)


def _nobody(left_out: list[Choice], health: Health, now: float) -> NoEndpoint | ModelWarming:
    details: dict[str, object] = {
        "left_out": [{"provider": c.endpoint.provider_name, "reason": c.left_out} for c in left_out]
    }
    loading = [c.endpoint.id for c in left_out if c.left_out and health.is_warming(c.endpoint.id, now)]
    if loading:
        return warming(min(health.retry_after_s(endpoint, now) for endpoint in loading), details)
    waits = [health.retry_after_s(c.endpoint.id, now) for c in left_out]
    soonest = min((wait for wait in waits if wait > 0), default=5.0)
    nobody = NoEndpoint(
        "No provider of this model can take the call right now. Nothing was charged; try again in a moment.",
        retry_after_s=soonest,
        details=details,
    )
    nobody.left_out = tuple(left_out)
    return nobody
