"""Ranks the endpoints that may serve a call: by its own preference, else by price and least wait. Pure.

By default: the best priority; in it the band of the lowest cost; in the band the account's sticky endpoint, or the
better of two drawn by weight and 1/cost². The better has the lower score: ``(latency + wait) * (1 + in flight /
capacity) / success``. The others follow by priority, band and score, for the case that the first one fails.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import log
from typing import Final

import msgspec

from router.routing.health import Health
from router.routing.stats import EndpointStats
from router.values import Choice, Endpoint, Preferences

# Endpoints that cost up to half as much again as the cheapest share the traffic; cost² makes it 4 : 9 there.
BAND_NUMERATOR, BAND_DENOMINATOR = 3, 2
# Of two drawn, the second must be better by this factor, so that noise does not outvote the price.
CLEARLY_BETTER: Final = 1.25
# An account leaves its sticky endpoint when that is this many times worse than the best.
STICKY_UNTIL: Final = 2.0
# An endpoint without a measurement counts as fast as the best measured one, or as this where there is none.
UNKNOWN_S: Final = 0.2
CAPACITY: Final = 32
SUCCESS_MIN: Final = 0.05
# A worker's queue of more than this, and half as long again as the best alternative takes, moves the call elsewhere.
CROWDED_S: Final = 1.0
CROWDED_TIMES: Final = 1.5


class _Candidate(msgspec.Struct):
    """One endpoint while it is ranked."""

    endpoint: Endpoint
    stats: EndpointStats
    latency_s: float
    score: float
    in_band: bool = False
    crowded: bool = False
    weight: float = 0.0
    sticky: bool = False


def rank(
    endpoints: Sequence[Endpoint],
    preferences: Preferences,
    health: Health,
    now: float,
    size: int,
    draw: Callable[[], float],
    sticky_to: bytes,
) -> tuple[list[Choice], str]:
    """All of ``endpoints``, the best first, each with the facts that decided, and the policy in a word.

    ``size`` is the call's size class. ``draw`` returns numbers in [0, 1). ``sticky_to`` names the account and the
    model; empty: no endpoint is sticky.
    """
    candidates = _candidates(endpoints, health, size, now)
    if len(candidates) == 1:
        ranked, policy = candidates, "only"
    elif preferences.order:
        ranked, policy = _rank_by_order(candidates, preferences.order, draw, sticky_to), "order"
    elif preferences.sort is not None:
        ranked, policy = sorted(candidates, key=_SORTS[preferences.sort]), preferences.sort
    else:
        ranked, policy = _rank_by_balance(candidates, draw, sticky_to)
    return [Choice(candidate.endpoint, None, _facts(candidate)) for candidate in ranked], policy


def _candidates(endpoints: Sequence[Endpoint], health: Health, size: int, now: float) -> list[_Candidate]:
    stats = [health.stats(endpoint.id, size, now) for endpoint in endpoints]
    best_s = min((each.latency_s for each in stats if each.latency_s is not None), default=UNKNOWN_S)
    candidates = []
    for endpoint, each in zip(endpoints, stats, strict=True):
        # A decayed latency is as good as the best at most: no endpoint loses its traffic to a mere hope.
        latency_s = max(best_s, each.decayed_latency_s)
        candidates.append(_Candidate(endpoint, each, latency_s, _score(endpoint, each, latency_s)))
    if any(each.wait_s > CROWDED_S for each in stats):
        least_s = min(candidate.latency_s + candidate.stats.wait_s for candidate in candidates)
        for candidate in candidates:
            candidate.crowded = candidate.stats.wait_s > max(CROWDED_S, CROWDED_TIMES * least_s)
    return candidates


def _score(endpoint: Endpoint, stats: EndpointStats, latency_s: float) -> float:
    """The seconds that a call would take there, weighted by load and failures; less is better."""
    load = 1 + stats.in_flight / (endpoint.concurrency or CAPACITY)
    return (latency_s + stats.wait_s) * load / max(SUCCESS_MIN, stats.success_rate)


def _rank_by_order(
    candidates: list[_Candidate], order: tuple[str, ...], draw: Callable[[], float], sticky_to: bytes
) -> list[_Candidate]:
    places = {name: place for place, name in reversed(list(enumerate(order)))}
    named = [candidate for candidate in candidates if candidate.endpoint.provider_name in places]
    named.sort(key=lambda candidate: (places[candidate.endpoint.provider_name], *_tier(candidate), candidate.score))
    others = [candidate for candidate in candidates if candidate.endpoint.provider_name not in places]
    return named + (_rank_by_balance(others, draw, sticky_to)[0] if others else [])


def _rank_by_balance(
    candidates: list[_Candidate], draw: Callable[[], float], sticky_to: bytes
) -> tuple[list[_Candidate], str]:
    best = min(map(_tier, candidates))
    tier = [candidate for candidate in candidates if _tier(candidate) == best]
    lowest = min(candidate.endpoint.cost_nano_per_mtok for candidate in tier)
    band = []
    for candidate in tier:
        if candidate.endpoint.cost_nano_per_mtok * BAND_DENOMINATOR <= lowest * BAND_NUMERATOR:
            candidate.in_band, candidate.weight = True, _weight(candidate.endpoint, lowest)
            band.append(candidate)
    candidates = sorted(candidates, key=lambda candidate: (*_tier(candidate), not candidate.in_band, candidate.score))
    recovered_share = max(candidate.stats.recovered_share for candidate in band)
    if recovered_share < 1 and len(band) < len(candidates) and draw() >= recovered_share:
        # All of the band was out until just now: its traffic comes back to it little by little.
        first, policy = candidates[len(band)], "slow start"
    else:
        first, policy = _pick_first(band, draw, sticky_to)
    return [first, *(candidate for candidate in candidates if candidate is not first)], policy


def _tier(candidate: _Candidate) -> tuple[bool, int]:
    return candidate.crowded, candidate.endpoint.priority


def _weight(endpoint: Endpoint, lowest: int) -> float:
    """Its part of the draws: 1/cost² as a ratio to the lowest cost, so that free endpoints have one too."""
    cost = endpoint.cost_nano_per_mtok
    return endpoint.weight * (1.0 if cost == lowest else (lowest / cost) ** 2)


def _pick_first(band: list[_Candidate], draw: Callable[[], float], sticky_to: bytes) -> tuple[_Candidate, str]:
    if len(band) == 1:
        return band[0], "cheapest"
    if sticky_to:
        favorite = max(band, key=lambda candidate: _affinity(candidate, sticky_to))
        favorite.sticky = True
        is_fine = favorite.score <= STICKY_UNTIL * min(candidate.score for candidate in band)
        if is_fine and (favorite.stats.share >= 1 or draw() < favorite.stats.share):
            return favorite, "sticky"
    first = _draw_candidate(band, draw)
    others = [candidate for candidate in band if candidate is not first]
    second = others[0] if len(others) == 1 else _draw_candidate(others, draw)
    return (second if second.score * CLEARLY_BETTER < first.score else first), "balanced"


def _draw_candidate(candidates: list[_Candidate], draw: Callable[[], float]) -> _Candidate:
    left = draw() * sum(candidate.weight * candidate.stats.share for candidate in candidates)
    for candidate in candidates:
        left -= candidate.weight * candidate.stats.share
        if left < 0:
            return candidate
    return candidates[-1]


def _affinity(candidate: _Candidate, sticky_to: bytes) -> float:
    """Weighted rendezvous hashing: an endpoint that leaves or joins moves only its own accounts.

    Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005): -weight / ln(uniform).
    """
    digest = blake2b(sticky_to, digest_size=8, key=candidate.endpoint.id.bytes).digest()
    return -candidate.weight / log((int.from_bytes(digest) + 1) / (2**64 + 2))


_SORTS: Final[dict[str, Callable[[_Candidate], tuple[float, float]]]] = {
    "price": lambda candidate: (candidate.endpoint.cost_nano_per_mtok, candidate.score),
    "latency": lambda candidate: (candidate.latency_s + candidate.stats.wait_s, candidate.score),
    # An unknown throughput comes last: the call did not ask for a guess.
    "throughput": lambda candidate: (-(candidate.stats.tokens_per_s or 0.0), candidate.score),
}


def _facts(candidate: _Candidate) -> dict[str, float]:
    """The facts that decided the place; the latency only where it was measured."""
    stats = candidate.stats
    facts: dict[str, float] = {
        "cost_nano_per_mtok": candidate.endpoint.cost_nano_per_mtok,
        "in_flight": stats.in_flight,
    }
    if stats.latency_s is not None:
        facts["latency_ms"] = 1000 * stats.latency_s
    if stats.tokens_per_s is not None:
        facts["tokens_per_s"] = stats.tokens_per_s
    facts["success"], facts["wait_ms"] = stats.success_rate, 1000 * stats.wait_s
    facts["score"], facts["sticky"] = 1000 * candidate.score, float(candidate.sticky)
    return facts
