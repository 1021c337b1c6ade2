"""The hard rules: why an endpoint may not serve a call, whatever its health. A preference leaves out, it never bends.

Each reason is a sentence that customers and operators can read, with a short stable code. Pure.
"""

from typing import Final

from billing.money import to_usd
from catalog.values import Model
from providers.protocol import TEXT_ONLY_KINDS
from router.values import EmbedRequest, Endpoint, EndpointState, Preferences

# Code and sentence.
Reason = tuple[str, str]

# The rules of the call's own preferences; what else leaves an endpoint out is no wish of the customer's.
PREFERENCES: Final = frozenset(
    {"only", "ignored", "order", "data_collection", "zero_retention", "region", "quantization", "price"}
)

_OTHER_SPACE: Final = ("space", "it serves another vector space")
IDS_WITH_PROMPT: Final = "token_ids"
_NO_PROMPT: Final = (IDS_WITH_PROMPT, "it cannot put the model's prompt for the input_type before token ids")


def unserving(endpoint: Endpoint, model: Model, *, prompted_ids: bool = False) -> Reason | None:
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


def unwanted(endpoint: Endpoint, model: Model, wanted: Preferences, price: int) -> Reason | None:
    """The first preference that leaves the endpoint out; ``price`` is the model's, nano-USD per million tokens."""
    return (
        _by_name(endpoint, wanted)
        or _by_data_policy(endpoint, wanted)
        or _by_region(endpoint, wanted)
        or _by_numerics(endpoint, model, wanted)
        or _by_price(wanted, price)
    )


def _by_name(endpoint: Endpoint, wanted: Preferences) -> Reason | None:
    name = endpoint.provider_name
    if wanted.only and name not in wanted.only:
        return "only", "it is not named in only"
    if name in wanted.ignore:
        return "ignored", "it is named in ignore"
    if wanted.order and not wanted.allow_fallbacks and name not in wanted.order:
        return "order", "it is not named in order, and allow_fallbacks is false"
    return None


def _by_data_policy(endpoint: Endpoint, wanted: Preferences) -> Reason | None:
    if wanted.data_collection == "deny" and endpoint.collects_data:
        return "data_collection", "it may use inputs for more than the answer, and data_collection is deny"
    if wanted.zero_retention and endpoint.retention_days != 0:
        if endpoint.retention_days is None:
            return "zero_retention", "it is not known how long it keeps inputs, and zero_retention is asked for"
        return "zero_retention", f"it keeps inputs for {endpoint.retention_days} days, and zero_retention is asked for"
    return None


def _by_region(endpoint: Endpoint, wanted: Preferences) -> Reason | None:
    if not wanted.regions:
        return None
    if not endpoint.regions:
        return "region", "it is not known where it processes calls, and regions are asked for"
    outside = [region for region in endpoint.regions if region not in wanted.regions]
    return ("region", f"it may process calls in {', '.join(outside)}, outside the asked regions") if outside else None


def _by_numerics(endpoint: Endpoint, model: Model, wanted: Preferences) -> Reason | None:
    numerics = endpoint.numerics or model.numerics
    if not wanted.quantizations or numerics in wanted.quantizations:
        return None
    return "quantization", f"its numerics are {numerics}, which is not among the asked quantizations"


def _by_price(wanted: Preferences, price: int) -> Reason | None:
    if wanted.max_price is None or price <= wanted.max_price:
        return None
    return "price", f"the model's price of {to_usd(price)} USD per 1M tokens is above max_price"
