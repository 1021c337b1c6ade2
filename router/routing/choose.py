"""Chooses the endpoints that a call may go to, in order, and says why the others are left out. Pure.

The clock and random numbers come in as arguments. The hard rules come first and in a fixed order (live,
space, the call's preferences, health); then the rest is ranked. A route never leaves the model's vector space.
"""

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from catalog.values import Model
from router.errors import InvalidRequest, NoEndpoint, PreferencesUnmet, TokenArrayUnsupported
from router.routing.circuit_breaker import OPEN_S
from router.routing.failures import model_warming, providers_busy
from router.routing.filters import IDS_WITH_PROMPT, PREFERENCE_CODES, capability_exclusion, preference_exclusion
from router.routing.health import Health
from router.routing.latency import size_of
from router.routing.public_reasons import public_reason
from router.routing.rank import rank
from router.values import NO_PREFERENCES, Choice, Endpoint, Preferences, Route
from store.ids import AccountId

# The Retry-After where no wait is known.
DEFAULT_RETRY_S: Final = 5.0
NAMED_MAX: Final = 8
# What keeps a call from an endpoint for a time only; what a quarantine or a state does ends by somebody's doing.
PASSING_CODES: Final = frozenset({"breaker", "paced", "warming"})

_NO_FALLBACKS: Final = "it is not the first choice, and allow_fallbacks is false"


def choose(
    candidates: Sequence[Endpoint],
    model: Model,
    preferences: Preferences,
    health: Health,
    now: float,
    draw: Callable[[], float],
    *,
    price: int = 0,
    inputs: int = 1,
    tokens: int = 0,
    account: AccountId | None = None,
    prompted_ids: bool = False,
) -> Route:
    """The route of one call. The same arguments, health and draws give the same route.

    ``now`` is on the clock of ``health``; ``draw`` returns numbers in [0, 1). ``price`` is the customer's for the
    model, nano-USD per million tokens. ``inputs`` and ``tokens`` are the call's size, as health records it with the
    answer. Calls of one ``account`` stick to one endpoint while that is well. ``prompted_ids``: the inputs are token
    ids that need the model's prompt, which not every endpoint can put before them.

    Raises InvalidRequest (another space is pinned), TokenArrayUnsupported, PreferencesUnmet, NoEndpoint,
    ProvidersBusy, ModelWarming.
    """
    if preferences.space is not None and preferences.space != model.space:
        raise InvalidRequest(
            f"'provider.space' pins another vector space than the model's, which is {model.space}.",
            param="provider.space",
        )
    is_plain = preferences is NO_PREFERENCES and not prompted_ids
    if len(candidates) == 1 and is_plain and _is_available(candidates[0], model, health, now):
        return _only_route(candidates[0])
    eligible: list[Endpoint] = []
    left_out: list[Choice] = []
    for endpoint in candidates:
        exclusion = capability_exclusion(endpoint, model, prompted_ids=prompted_ids)
        if exclusion is None and preferences is not NO_PREFERENCES:
            exclusion = preference_exclusion(endpoint, model, preferences, price)
        if exclusion is None:
            exclusion = health.exclusion(endpoint.id, now)
        if exclusion is None:
            eligible.append(endpoint)
        else:
            left_out.append(Choice(endpoint, exclusion[1], {}, exclusion[0]))
    if not eligible:
        return _trial_route(left_out, health, now) or _raise_no_endpoint(model, left_out, health, now)
    sticky_to = b"" if account is None else account.bytes + model.id.encode()
    ranked, policy = rank(eligible, preferences, health, now, size_of(inputs, tokens), draw, sticky_to)
    # With `order`, the filters have left out endpoints that it does not name; without it, only the first may try.
    if not preferences.allow_fallbacks and not preferences.order:
        left_out += [Choice(choice.endpoint, _NO_FALLBACKS, choice.facts, "fallback") for choice in ranked[1:]]
        del ranked[1:]
    return Route(tuple([choice.endpoint for choice in ranked]), tuple(left_out), tuple(ranked), policy)


def _is_available(endpoint: Endpoint, model: Model, health: Health, now: float) -> bool:
    return capability_exclusion(endpoint, model) is None and health.exclusion(endpoint.id, now) is None


def _only_route(endpoint: Endpoint) -> Route:
    """The route of a single endpoint, the commonest: built in a microsecond, since nothing is compared."""
    return Route(
        (endpoint,), (), (Choice(endpoint, None, {"cost_nano_per_mtok": endpoint.cost_nano_per_mtok}),), "only"
    )


def _trial_route(left_out: list[Choice], health: Health, now: float) -> Route | None:
    """A route to the least bad endpoint where open breakers alone have left no other: one call at a time may try it.

    That is the endpoint whose last trial was the longest ago, and of equals the one whose rest ends first.
    """
    unwell = [choice for choice in left_out if choice.code in PASSING_CODES]
    resting = [choice for choice in unwell if choice.code == "breaker"]
    if not resting or len(resting) < len(unwell):
        return None
    if not all(health.may_be_tried(choice.endpoint.id, now) for choice in resting):
        return None

    def badness(choice: Choice) -> tuple[float, float]:
        return health.last_trial_at(choice.endpoint.id), health.retry_after_s(choice.endpoint.id, now)

    least = min(resting, key=badness)
    rest = tuple([choice for choice in left_out if choice is not least])
    return Route((least.endpoint,), rest, (Choice(least.endpoint),), "trial")


def _raise_no_endpoint(model: Model, left_out: list[Choice], health: Health, now: float) -> NoReturn:
    """Raise the error that names the cause: preferences, warming up, used-up quotas, or failing endpoints."""
    codes = {choice.code for choice in left_out} - {"state", "space"}
    details: dict[str, object] = {
        "left_out": [
            {
                "provider": choice.endpoint.provider_name,
                "code": choice.code,
                "reason": public_reason(choice.left_out or ""),
            }
            for choice in left_out
        ]
    }
    refusal: NoEndpoint | PreferencesUnmet | TokenArrayUnsupported
    wait_s = _shortest_wait_s(left_out, health, now)
    may_pass = bool(codes & PASSING_CODES)
    if codes - PREFERENCE_CODES == {IDS_WITH_PROMPT}:
        refusal = TokenArrayUnsupported(
            f"`{model.id}` puts a prompt before each input of an input_type, and nobody that this call may go "
            "to can do that to token ids. Send text, or leave 'input_type' out.",
            param="input",
            details=details,
        )
    elif codes and codes <= PREFERENCE_CODES:
        refusal = PreferencesUnmet(_unmet_preferences(model, left_out), param="provider", details=details)
    elif "warming" in codes:
        refusal = model_warming(wait_s, details)
    elif codes - PREFERENCE_CODES - {"quarantined"} == {"paced"}:
        refusal = providers_busy(wait_s, details)
    else:
        refusal = NoEndpoint(
            "No provider of this model can take the call right now. Nothing was charged; try again in a moment."
            if may_pass
            else "No provider serves this model at the moment, and waiting does not help: that needs our operators. "
            "Nothing was charged; choose another model meanwhile.",
            retry_after_s=wait_s if may_pass else None,
            details=details,
            again=may_pass,
        )
    refusal.left_out = tuple(left_out)
    raise refusal


def _shortest_wait_s(left_out: list[Choice], health: Health, now: float) -> float:
    """Seconds until the first endpoint may be tried; for a resting one at most 5 s, since it may get a trial."""
    waits = []
    for choice in left_out:
        wait_s = health.retry_after_s(choice.endpoint.id, now)
        if wait_s > 0 and choice.code in PASSING_CODES:
            waits.append(min(wait_s, OPEN_S) if choice.code == "breaker" else wait_s)
    return min(waits, default=DEFAULT_RETRY_S)


def _unmet_preferences(model: Model, left_out: list[Choice]) -> str:
    """A sentence of bounded length: which endpoints were left out by which preference."""
    excluded = [choice for choice in left_out if choice.code in PREFERENCE_CODES]
    named = "; ".join(f"{choice.endpoint.provider_name}: {choice.left_out}" for choice in excluded[:NAMED_MAX])
    more = f"; and {len(excluded) - NAMED_MAX} more" if len(excluded) > NAMED_MAX else ""
    return f"Your provider preferences leave nobody to serve {model.id} ({named}{more}). Nothing was charged."
