"""Chooses among endpoints as the router does, with chance that the test decides."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict, Unpack

from router.routing.choose import choose
from router.routing.health import Health
from router.values import NO_PREFERENCES, Endpoint, Preferences, Route
from store.ids import AccountId
from tests.builders.values import a_model

MODEL = a_model("org/m", numerics="bf16")


class PickOptions(TypedDict, total=False):
    """The size of a call and who makes it."""

    price: int
    inputs: int
    tokens: int
    account: AccountId | None
    prompted_ids: bool


def chance(*draws: float) -> Callable[[], float]:
    """These draws and then zeros."""
    left: Iterator[float] = iter(draws)
    return lambda: next(left, 0.0)


def pick(
    endpoints: Sequence[Endpoint],
    wanted: Preferences = NO_PREFERENCES,
    health: Health | None = None,
    now: float = 0.0,
    draw: Callable[[], float] = float,
    **options: Unpack[PickOptions],
) -> Route:
    """The route of a call of ``MODEL``."""
    return choose(endpoints, MODEL, wanted, health or Health(), now, draw, **options)
