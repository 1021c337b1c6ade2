"""The order in which a call tries the endpoints that may serve it: by its wish, else by price and least wait. Pure.

By default: the best priority; in it the band of the lowest cost; in the band the member that the account is used to, or
the better of two drawn by weight and 1/cost². The better has the lower score: ``(latency + wait) * (1 + in flight /
capacity) / success``. The others follow by priority, band and score, for the case that the first one fails.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import log
from typing import Final

import msgspec

from router.routing.health import Health, Seen
from router.values import Choice, Endpoint, Preferences

# Endpoints that cost up to half as much again as the cheapest share the traffic; cost² makes it 4 : 9 there.
BAND_NUMERATOR, BAND_DENOMINATOR = 3, 2
# Of two drawn, the second must be better by this, so that noise does not outvote the price.
CLEARLY_BETTER: Final = 1.25
# An account leaves the endpoint that it is used to when that is this many times worse than the best.
STICKY_UNTIL: Final = 2.0
# An endpoint that nobody has measured counts as fast as the best that is known, or as this where none is.
UNKNOWN_S: Final = 0.2
CAPACITY: Final = 32
SUCCESS_MIN: Final = 0.05
# A worker's queue of more than this, and half as long again as the best alternative takes, moves the call elsewhere.
CROWDED_S: Final = 1.0
CROWDED_TIMES: Final = 1.5


class _Runner(msgspec.Struct):
    """One endpoint in the ranking."""

    endpoint: Endpoint
    seen: Seen
    latency_s: float
    score: float
    in_band: bool = False
    crowded: bool = False
    weight: float = 0.0
    sticky: bool = False


def rank(
    endpoints: Sequence[Endpoint],
    wanted: Preferences,
    health: Health,
    now: float,
    size: int,
    draw: Callable[[], float],
    sticky_to: bytes,
) -> tuple[list[Choice], str]:
    """All of ``endpoints``, the best first, each with the facts that decided, and the policy in a word.

    ``size`` is the call's size class. ``draw`` gives numbers in [0, 1). ``sticky_to`` names the account and the model;
    empty: no habit is kept.
    """
    runners = _runners(endpoints, health, size, now)
    if len(runners) == 1:
        ranked, policy = runners, "only"
    elif wanted.order:
        ranked, policy = _ordered(runners, wanted.order, draw, sticky_to), "order"
    elif wanted.sort is not None:
        ranked, policy = sorted(runners, key=_SORTS[wanted.sort]), wanted.sort
    else:
        ranked, policy = _balanced(runners, draw, sticky_to)
    return [Choice(runner.endpoint, None, _facts(runner)) for runner in ranked], policy


def _runners(endpoints: Sequence[Endpoint], health: Health, size: int, now: float) -> list[_Runner]:
    seen = [health.seen(endpoint.id, size, now) for endpoint in endpoints]
    known = min((one.latency_s for one in seen if one.latency_s is not None), default=UNKNOWN_S)
    runners = []
    for endpoint, one in zip(endpoints, seen, strict=True):
        # What has faded is as good as the best at most: nobody loses its traffic to a mere hope.
        latency_s = max(known, one.faded_s)
        runners.append(_Runner(endpoint, one, latency_s, _score(endpoint, one, latency_s)))
    if any(one.wait_s > CROWDED_S for one in seen):
        least_s = min(runner.latency_s + runner.seen.wait_s for runner in runners)
        for runner in runners:
            runner.crowded = runner.seen.wait_s > max(CROWDED_S, CROWDED_TIMES * least_s)
    return runners


def _score(endpoint: Endpoint, seen: Seen, latency_s: float) -> float:
    """Seconds that a call would feel there; less is better."""
    load = 1 + seen.in_flight / (endpoint.concurrency or CAPACITY)
    return (latency_s + seen.wait_s) * load / max(SUCCESS_MIN, seen.success)


def _ordered(
    runners: list[_Runner], order: tuple[str, ...], draw: Callable[[], float], sticky_to: bytes
) -> list[_Runner]:
    places = {name: place for place, name in reversed(list(enumerate(order)))}
    named = [runner for runner in runners if runner.endpoint.provider_name in places]
    named.sort(key=lambda runner: (places[runner.endpoint.provider_name], *_tier(runner), runner.score))
    others = [runner for runner in runners if runner.endpoint.provider_name not in places]
    return named + (_balanced(others, draw, sticky_to)[0] if others else [])


def _balanced(runners: list[_Runner], draw: Callable[[], float], sticky_to: bytes) -> tuple[list[_Runner], str]:
    best = min(map(_tier, runners))
    tier = [runner for runner in runners if _tier(runner) == best]
    lowest = min(runner.endpoint.cost_nano_per_mtok for runner in tier)
    band = []
    for runner in tier:
        if runner.endpoint.cost_nano_per_mtok * BAND_DENOMINATOR <= lowest * BAND_NUMERATOR:
            runner.in_band, runner.weight = True, _weight(runner.endpoint, lowest)
            band.append(runner)
    runners = sorted(runners, key=lambda runner: (*_tier(runner), not runner.in_band, runner.score))
    recovered = max(runner.seen.recovered for runner in band)
    if recovered < 1 and len(band) < len(runners) and draw() >= recovered:
        # All of the band was out until just now: its calls come back to it little by little.
        first, policy = runners[len(band)], "slow start"
    else:
        first, policy = _first(band, draw, sticky_to)
    return [first, *(runner for runner in runners if runner is not first)], policy


def _tier(runner: _Runner) -> tuple[bool, int]:
    return runner.crowded, runner.endpoint.priority


def _weight(endpoint: Endpoint, lowest: int) -> float:
    """Its part of the draws: 1/cost², told as a ratio so that free endpoints have one too."""
    cost = endpoint.cost_nano_per_mtok
    return endpoint.weight * (1.0 if cost == lowest else (lowest / cost) ** 2)


def _first(band: list[_Runner], draw: Callable[[], float], sticky_to: bytes) -> tuple[_Runner, str]:
    if len(band) == 1:
        return band[0], "cheapest"
    if sticky_to:
        habit = max(band, key=lambda runner: _affinity(runner, sticky_to))
        habit.sticky = True
        is_fine = habit.score <= STICKY_UNTIL * min(runner.score for runner in band)
        if is_fine and (habit.seen.share >= 1 or draw() < habit.seen.share):
            return habit, "sticky"
    one = _drawn(band, draw)
    others = [runner for runner in band if runner is not one]
    two = others[0] if len(others) == 1 else _drawn(others, draw)
    return (two if two.score * CLEARLY_BETTER < one.score else one), "balanced"


def _drawn(runners: list[_Runner], draw: Callable[[], float]) -> _Runner:
    left = draw() * sum(runner.weight * runner.seen.share for runner in runners)
    for runner in runners:
        left -= runner.weight * runner.seen.share
        if left < 0:
            return runner
    return runners[-1]


def _affinity(runner: _Runner, sticky_to: bytes) -> float:
    """Weighted rendezvous hashing: who leaves or joins moves only the accounts that were or become its own.

    Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005): -weight / ln(uniform).
    """
    digest = blake2b(sticky_to, digest_size=8, key=runner.endpoint.id.bytes).digest()
    return -runner.weight / log((int.from_bytes(digest) + 1) / (2**64 + 2))


_SORTS: Final[dict[str, Callable[[_Runner], tuple[float, float]]]] = {
    "price": lambda runner: (runner.endpoint.cost_nano_per_mtok, runner.score),
    "latency": lambda runner: (runner.latency_s + runner.seen.wait_s, runner.score),
    # What is not known comes last: nobody asked for a guess.
    "throughput": lambda runner: (-(runner.seen.tokens_per_s or 0.0), runner.score),
}


def _facts(runner: _Runner) -> dict[str, float]:
    """What the place was decided by; the latency only where it was measured."""
    seen = runner.seen
    facts: dict[str, float] = {"cost_nano_per_mtok": runner.endpoint.cost_nano_per_mtok, "in_flight": seen.in_flight}
    if seen.latency_s is not None:
        facts["latency_ms"] = 1000 * seen.latency_s
    if seen.tokens_per_s is not None:
        facts["tokens_per_s"] = seen.tokens_per_s
    facts["success"], facts["wait_ms"] = seen.success, 1000 * seen.wait_s
    facts["score"], facts["sticky"] = 1000 * runner.score, float(runner.sticky)
    return facts
