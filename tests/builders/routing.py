"""Builders for tests of routing: a model, endpoints, chance that is told."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any

from catalog.values import Model, Status
from router.routing.choose import choose
from router.routing.health import Health
from router.values import NO_PREFERENCES, Endpoint, EndpointState, Preferences, Route
from store.ids import EndpointId, ModelId, ProviderId, new_id

SPACE = "the space"
MODEL = Model(
    id=ModelId("org/m"),
    owned_by="org",
    summary="a model",
    published_on=date(2026, 1, 1),
    dimensions=8,
    max_input_tokens=512,
    normalized=True,
    numerics="bf16",
    status=Status.LIVE,
    space=SPACE,
)


def an_endpoint(name: str = "provider", *, space: str = SPACE, cost: int = 0, **other: Any) -> Endpoint:
    return Endpoint(
        id=EndpointId(new_id()),
        model_id=MODEL.id,
        provider_id=ProviderId(new_id()),
        provider_name=name,
        upstream_model="upstream",
        space=space,
        state=other.pop("state", EndpointState.LIVE),
        priority=other.pop("priority", 100),
        cost_nano_per_mtok=cost,
        **other,
    )


def chance(*draws: float) -> Callable[[], float]:
    """These draws and then zeros."""
    given: Iterable[float] = iter(draws)
    return lambda: next(given, 0.0)  # type: ignore[call-overload, no-any-return]


def pick(
    endpoints: Sequence[Endpoint],
    wanted: Preferences = NO_PREFERENCES,
    health: Health | None = None,
    now: float = 0.0,
    draw: Callable[[], float] = float,
    **other: Any,
) -> Route:
    return choose(endpoints, MODEL, wanted, health or Health(), now, draw, **other)
