"""Decides which facts a model needs and which may still be changed, for file, admin API and command line. Pure."""

from catalog.values import Status

# The facts that a new model must state; the others have honest defaults.
REQUIRED_FACTS = ("owned_by", "summary", "dimensions", "max_input_tokens", "normalized")
# The facts that may be edited of a model that is served; its customers rely on all others.
FACTS_EDITABLE_WHEN_SERVED = frozenset(
    {"summary", "note", "languages", "published_on", "estimate", "updated_on", "downloads", "task", "architecture"}
    | {"language_codes", "programming_languages", "statements", "benchmarks", "texts"}
)
# The facts that name the vector space, for which endpoints are registered.
SPACE_FACTS = frozenset({"owned_by", "revision", "pooling", "normalized", "prompts", "numerics"})


def refusal_to_edit(model_id: str, status: str, fact: str, value: object, *, has_endpoints: bool) -> str | None:
    """Say why a fact cannot be changed any more, None where it can; ``value`` is what it is now.

    Endpoints in any state count, OFF ones too: what was embedded through them is in customers' indexes.
    """
    if status != Status.COMING_SOON.value and fact not in FACTS_EDITABLE_WHEN_SERVED:
        return f"{model_id} is {status}: customers rely on it that this is {value!r}."
    if has_endpoints and fact in SPACE_FACTS:
        return f"{model_id} has endpoints, which were registered for its vector space: this fact stays."
    return None
