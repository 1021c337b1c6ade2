"""Says what would let a refused call pass: a sentence, and the page where that is done. Pure."""

from typing import Final

import msgspec


class Remedy(msgspec.Struct, frozen=True):
    """What lifts a refusal. ``href`` is the page where it is done, ``action`` the words of the link."""

    sentence: str
    href: str | None = None
    action: str = ""


_LICENSE = Remedy(
    "The model's page says what its license permits to each use, and what lifts it: another use of the key, an"
    " acceptance, or a waiver.",
    "/models/{model}",
    "See the license",
)
_CREDIT = Remedy("More credit lets it pass.", "{base}/credit", "Add credit")
_CAP = Remedy("A higher cap lets it pass, or the next period of the cap.", "{base}/keys", "See the caps")
_LIMIT = Remedy("A higher limit of the key lets it pass, or fewer calls at once.", "{base}/keys", "See the limits")
_KEYS_MODELS = Remedy("The key has a list of models, and this one is not on it.", "{base}/keys", "Edit the key")
_NETWORKS = Remedy(
    "The key may be used from certain networks only, and the call came from another one.", "{base}/keys", "Edit the key"
)
_MODEL = Remedy("Another model, or another spelling of its name.", "/models", "See the models")
_DEMANDS = Remedy("Fewer demands in the call's provider object: below stands what each endpoint lacks.")
_LATER = Remedy("The same call a little later; the status page says how the model is.", "/status", "See the status")
_NOBODY = Remedy("Another model lets it pass; this one, once somebody serves it again.", "/models", "See the models")
_OTHER = Remedy("The sentence above says what to change.")

# Error code of a call -> what lifts it.
REMEDIES: Final[dict[str, Remedy]] = {
    "license_restricted": _LICENSE,
    **dict.fromkeys(("credit_exhausted", "credit_held"), _CREDIT),
    "key_budget_exhausted": _CAP,
    **dict.fromkeys(("rate_limited_requests", "rate_limited_tokens", "concurrency_limited"), _LIMIT),
    "above_tokens_per_minute": _LIMIT,
    "model_not_allowed": _KEYS_MODELS,
    "network_not_allowed": _NETWORKS,
    **dict.fromkeys(("model_not_found", "model_not_available"), _MODEL),
    "preferences_unmet": _DEMANDS,
    "no_provider_available": _NOBODY,
    **dict.fromkeys(("capacity_exhausted", "model_warming"), _LATER),
    **dict.fromkeys(("provider_unavailable", "upstream_timeout", "upstream_invalid"), _LATER),
    "idempotency_in_progress": _LATER,
    **dict.fromkeys(("store_unavailable", "overloaded", "not_recorded", "internal_error"), _LATER),
}


def remedy_of(code: str, model: str, base: str) -> Remedy:
    """What would let the same call pass; ``base`` is where the account's pages are."""
    remedy = REMEDIES.get(code, _OTHER)
    if remedy.href is None:
        return remedy
    place = "/models" if not model and "{model}" in remedy.href else remedy.href
    return msgspec.structs.replace(remedy, href=place.format(model=model, base=base))
