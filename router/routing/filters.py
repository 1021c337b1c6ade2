"""Filters endpoints by hard rules: why one may not serve a call, whatever its health. Preferences never bend. Pure.

Each reason is a sentence that customers and operators can read, with a short stable code.
"""

from typing import Final

from billing.money import to_usd
from catalog.values import Model
from providers.protocol import TEXT_ONLY_KINDS
from router.values import EmbedRequest, Endpoint, EndpointState, Preferences

# The code and the sentence of a reason to leave an endpoint out.
Exclusion = tuple[str, str]

# The codes of the call's own preferences; all other codes have nothing to do with the customer.
PREFERENCE_CODES: Final = frozenset(
    {"only", "ignored", "order", "data_collection", "zero_retention", "region", "quantization", "price"}
)

_OTHER_SPACE: Final = ("space", "it serves another vector space")
IDS_WITH_PROMPT: Final = "token_ids"
_NO_PROMPT: Final = (IDS_WITH_PROMPT, "it cannot put the model's prompt for the input_type before token ids")


def capability_exclusion(endpoint: Endpoint, model: Model, *, prompted_ids: bool = False) -> Exclusion | None:
    """Why an endpoint cannot serve the call: not live, of another space, or not able to. None where it can.

    ``prompted_ids``: the call has token ids before which the model's prompt belongs.
    """
    if endpoint.state is not EndpointState.LIVE:
        return "state", f"it is {endpoint.state.value}"
    if endpoint.space != model.space:
        return _OTHER_SPACE
    if prompted_ids and not endpoint.native_input_type and endpoint.provider_kind in TEXT_ONLY_KINDS:
        return _NO_PROMPT
    return None


def has_prompted_ids(request: EmbedRequest, model: Model) -> bool:
    """Whether the call's inputs are token ids before which the model has a prompt for its input type."""
    return request.token_ids is not None and bool(request.input_type and model.prompts.get(request.input_type))


def preference_exclusion(endpoint: Endpoint, model: Model, preferences: Preferences, price: int) -> Exclusion | None:
    """The first preference that leaves the endpoint out; ``price`` is the model's, nano-USD per million tokens."""
    return (
        _by_name(endpoint, preferences)
        or _by_data_policy(endpoint, preferences)
        or _by_region(endpoint, preferences)
        or _by_numerics(endpoint, model, preferences)
        or _by_price(preferences, price)
    )


def _by_name(endpoint: Endpoint, preferences: Preferences) -> Exclusion | None:
    name = endpoint.provider_name
    if preferences.only and name not in preferences.only:
        return "only", "it is not named in only"
    if name in preferences.ignore:
        return "ignored", "it is named in ignore"
    if preferences.order and not preferences.allow_fallbacks and name not in preferences.order:
        return "order", "it is not named in order, and allow_fallbacks is false"
    return None


def _by_data_policy(endpoint: Endpoint, preferences: Preferences) -> Exclusion | None:
    if preferences.data_collection == "deny" and endpoint.collects_data:
        return "data_collection", "it may use inputs for more than the answer, and data_collection is deny"
    if preferences.zero_retention and endpoint.retention_days != 0:
        if endpoint.retention_days is None:
            return "zero_retention", "it is not known how long it keeps inputs, and zero_retention is asked for"
        return "zero_retention", f"it keeps inputs for {endpoint.retention_days} days, and zero_retention is asked for"
    return None


def _by_region(endpoint: Endpoint, preferences: Preferences) -> Exclusion | None:
    if not preferences.regions:
        return None
    if not endpoint.regions:
        return "region", "it is not known where it processes calls, and regions are asked for"
    outside = [region for region in endpoint.regions if region not in preferences.regions]
    return ("region", f"it may process calls in {', '.join(outside)}, outside the asked regions") if outside else None


def _by_numerics(endpoint: Endpoint, model: Model, preferences: Preferences) -> Exclusion | None:
    numerics = endpoint.numerics or model.numerics
    if not preferences.quantizations or numerics in preferences.quantizations:
        return None
    return "quantization", f"its numerics are {numerics}, which is not among the asked quantizations"


def _by_price(preferences: Preferences, price: int) -> Exclusion | None:
    if preferences.max_price is None or price <= preferences.max_price:
        return None
    return "price", f"the model's price of {to_usd(price)} USD per 1M tokens is above max_price"
