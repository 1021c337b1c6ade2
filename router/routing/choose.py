"""Which endpoints a call may go to, in order, and why the others were left out. Pure: the clock and chance come in.

The hard rules come first and in a fixed order (live, space, the call's preferences, health); then the rest is ranked. A
route never leaves the model's vector space.
"""

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from catalog.values import Model
from router.errors import InvalidRequest, NoEndpoint, PreferencesUnmet, TokenArrayUnsupported
from router.routing.failures import busy, warming
from router.routing.filters import IDS_WITH_PROMPT, PREFERENCES, unserving, unwanted
from router.routing.health import OPEN_S, Health
from router.routing.latency import size_of
from router.routing.public_reasons import public_reason
from router.routing.rank import rank
from router.values import NO_PREFERENCES, Choice, Endpoint, Preferences, Route
from store.ids import AccountId

# Where nobody knows when it will be better.
SOON_S: Final = 5.0
NAMED_MAX: Final = 8

_NO_FALLBACKS: Final = "it is not the first choice, and allow_fallbacks is false"


def choose(
    candidates: Sequence[Endpoint],
    model: Model,
    wanted: Preferences,
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

    ``now`` is on the clock that ``health`` is told; ``draw`` gives numbers in [0, 1). ``price`` is what the customer
    pays for the model, nano-USD per million tokens. ``inputs`` and ``tokens`` are the call's size, as health is told it
    with the answer. Calls of one ``account`` keep to one endpoint while that is well. ``prompted_ids``: the inputs are
    token ids that want the model's prompt, which not every endpoint can put before them.

    Raises InvalidRequest (another space is pinned), TokenArrayUnsupported, PreferencesUnmet, NoEndpoint,
    ProvidersBusy, ModelWarming.
    """
    if wanted.space is not None and wanted.space != model.space:
        raise InvalidRequest(
            f"'provider.space' pins another vector space than the model's, which is {model.space}.",
            param="provider.space",
        )
    is_plain = wanted is NO_PREFERENCES and not prompted_ids
    if len(candidates) == 1 and is_plain and _serves(candidates[0], model, health, now):
        return _only(candidates[0])
    may: list[Endpoint] = []
    left_out: list[Choice] = []
    for endpoint in candidates:
        why = unserving(endpoint, model, prompted_ids=prompted_ids)
        if why is None and wanted is not NO_PREFERENCES:
            why = unwanted(endpoint, model, wanted, price)
        if why is None:
            why = health.verdict(endpoint.id, now)
        if why is None:
            may.append(endpoint)
        else:
            left_out.append(Choice(endpoint, why[1], {}, why[0]))
    if not may:
        return _on_trial(left_out, health, now) or _nobody(model, left_out, health, now)
    sticky_to = b"" if account is None else account.bytes + model.id.encode()
    ranked, policy = rank(may, wanted, health, now, size_of(inputs, tokens), draw, sticky_to)
    # With `order`, allow_fallbacks has left out who is not named; without it, the first alone may try.
    if not wanted.allow_fallbacks and not wanted.order:
        left_out += [Choice(choice.endpoint, _NO_FALLBACKS, choice.facts, "fallback") for choice in ranked[1:]]
        del ranked[1:]
    return Route(tuple([choice.endpoint for choice in ranked]), tuple(left_out), tuple(ranked), policy)


def _serves(endpoint: Endpoint, model: Model, health: Health, now: float) -> bool:
    return unserving(endpoint, model) is None and health.verdict(endpoint.id, now) is None


def _only(endpoint: Endpoint) -> Route:
    """The commonest route, made in a microsecond: nothing was compared, so there is little to tell."""
    return Route(
        (endpoint,), (), (Choice(endpoint, None, {"cost_nano_per_mtok": endpoint.cost_nano_per_mtok}),), "only"
    )


def _on_trial(left_out: list[Choice], health: Health, now: float) -> Route | None:
    """Where breakers alone have removed everybody, one call at a time may try the least bad.

    That is the one which was tried the longest ago, and of those the one whose rest ends first.
    """
    unwell = [choice for choice in left_out if choice.code in {"breaker", "paced", "warming"}]
    resting = [choice for choice in unwell if choice.code == "breaker"]
    if not resting or len(resting) < len(unwell):
        return None
    if not all(health.may_be_tried(choice.endpoint.id, now) for choice in resting):
        return None

    def badness(choice: Choice) -> tuple[float, float]:
        return health.tried_at(choice.endpoint.id), health.retry_after_s(choice.endpoint.id, now)

    least = min(resting, key=badness)
    rest = tuple([choice for choice in left_out if choice is not least])
    return Route((least.endpoint,), rest, (Choice(least.endpoint),), "trial")


def _nobody(model: Model, left_out: list[Choice], health: Health, now: float) -> NoReturn:
    """Raises the error that says what is in the way: preferences, warming up, pacing, or failing endpoints."""
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
    soonest_s = _soonest_s(left_out, health, now)
    if codes - PREFERENCES == {IDS_WITH_PROMPT}:
        refusal = TokenArrayUnsupported(
            f"`{model.id}` puts a prompt before each input of an input_type, and nobody that this call may go "
            "to can do that to token ids. Send text, or leave 'input_type' out.",
            param="input",
            details=details,
        )
    elif codes and codes <= PREFERENCES:
        refusal = PreferencesUnmet(_unmet(model, left_out), param="provider", details=details)
    elif "warming" in codes:
        refusal = warming(soonest_s, details)
    elif codes - PREFERENCES - {"quarantined"} == {"paced"}:
        refusal = busy(soonest_s, details)
    else:
        refusal = NoEndpoint(
            "No provider of this model can take the call right now. Nothing was charged; try again in a moment.",
            retry_after_s=soonest_s,
            details=details,
        )
    refusal.left_out = tuple(left_out)
    raise refusal


def _soonest_s(left_out: list[Choice], health: Health, now: float) -> float:
    """When the first of them may be tried; a resting one before its rest is over, where nobody else is left."""
    waits = []
    for choice in left_out:
        wait_s = health.retry_after_s(choice.endpoint.id, now)
        if wait_s > 0 and choice.code in {"breaker", "paced", "warming"}:
            waits.append(min(wait_s, OPEN_S) if choice.code == "breaker" else wait_s)
    return min(waits, default=SOON_S)


def _unmet(model: Model, left_out: list[Choice]) -> str:
    """Who was left out by which preference, in a sentence of bounded length."""
    excluded = [choice for choice in left_out if choice.code in PREFERENCES]
    named = "; ".join(f"{choice.endpoint.provider_name}: {choice.left_out}" for choice in excluded[:NAMED_MAX])
    more = f"; and {len(excluded) - NAMED_MAX} more" if len(excluded) > NAMED_MAX else ""
    return f"Your provider preferences leave nobody to serve {model.id} ({named}{more}). Nothing was charged."
