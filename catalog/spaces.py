"""Pure. Names the vector space of a model: what makes two vectors comparable, as one short name.

Weights, pooling, normalization, prompts and the class of the numbers: if one changes, vectors made before and after may
no longer be compared, so the name changes too. Width is not part of it: shorter Matryoshka vectors of one space are
compared with each other as they are. The name is stored with the model and never recomputed for a model that is served,
because customers keep it beside their index.
"""

import re
from collections.abc import Mapping
from hashlib import sha256

import msgspec

REVISION_SHOWN = 8


def space_of(
    model_id: str,
    *,
    revision: str | None,
    owned_by: str,
    pooling: str,
    normalized: bool,
    prompts: Mapping[str, str],
    numerics: str,
) -> str:
    """The name, as ``f2llm-v2-4b@e04d1a04/last-token/l2/prompts-1f0c52a9/bf16``: printable ASCII, fit for a header.

    Where the maker does not publish the revision, the maker's name stands in its place: it vouches that the weights
    stay the same.
    """
    name = _slug(model_id.partition("/")[2])
    weights = revision.removeprefix("sha256:")[:REVISION_SHOWN] if revision else _slug(owned_by)
    return "/".join((f"{name}@{weights}", pooling, "l2" if normalized else "any-norm", _prompts(prompts), numerics))


def _prompts(prompts: Mapping[str, str]) -> str:
    texts = {kind: text for kind, text in prompts.items() if text}
    if not texts:
        return "no-prompts"
    return "prompts-" + sha256(msgspec.json.encode(texts, order="sorted")).hexdigest()[:8]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
