"""Which facts a model needs, and which may still be changed: one rule for file, admin API and command line. Pure."""

from catalog.values import Status

# What a new model must state; the other facts have honest defaults.
MODEL_NEEDS = ("owned_by", "summary", "dimensions", "max_input_tokens", "normalized")
# What may be said better of a model that is served; all else is what its customers rely on.
SAID_OF_A_SERVED_MODEL = frozenset({"summary", "note", "languages", "published_on", "estimate"})
# What names the vector space: an endpoint is registered for one.
SPACE_FACTS = frozenset({"owned_by", "revision", "pooling", "normalized", "prompts", "numerics"})


def why_it_stays(model_id: str, status: str, fact: str, value: object, *, has_endpoints: bool) -> str | None:
    """Why a fact cannot be changed any more; ``value`` is what it is now. None where it can.

    Endpoints in any state count, those that are off too: what was embedded through them is in customers' indexes.
    """
    if status != Status.COMING_SOON.value and fact not in SAID_OF_A_SERVED_MODEL:
        return f"{model_id} is {status}: customers rely on it that this is {value!r}."
    if has_endpoints and fact in SPACE_FACTS:
        return f"{model_id} has endpoints, which were registered for its vector space: this fact stays."
    return None
