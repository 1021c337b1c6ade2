"""Decides whether a derived variant of the weights (quantized, pruned) may be served under the model's name.

Weights whose license forbids derivatives, or contradicts itself, or is unknown, are served as they were published or
not at all, unless a recorded waiver lifts that. A cast of the published weights to another float type at load is not a
variant.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from providers.worker.errors import LicenseForbids
from providers.worker.model.family import shape_of
from providers.worker.model.profile import Profile, is_quantized


def derivation_of(folder: Path, profile: Profile) -> str | None:
    """The kind of derived variant that the folder has, in words; None for weights as published."""
    if is_quantized(folder):
        return "quantized"
    relation = _front_matter(folder).get("base_model_relation", "")
    if relation in ("quantized", "merge", "adapter"):
        return f"published as {relation}"
    shape = shape_of(profile.name)
    if shape and (profile.hidden_size, profile.layers) != (shape.hidden, shape.layers):
        return f"pruned ({profile.layers} layers of width {profile.hidden_size}, not {shape.layers} of {shape.hidden})"
    return None


def licenses_of(folder: Path, operator_claims: Sequence[str]) -> tuple[str, ...]:
    """The licenses that the model's card and the operator claim."""
    card = _front_matter(folder)
    claims = (card.get("license_name", ""), card.get("license", ""), *operator_claims)
    return tuple(dict.fromkeys(claim.lower() for claim in claims if claim))


def check_derived(name: str, derivation: str | None, licenses: Sequence[str], waiver: str | None) -> None:
    """Raise LicenseForbids unless the variant may be served. ``waiver`` says where the waiver is recorded."""
    if derivation is None or waiver:
        return
    shape = shape_of(name)
    forbids = next((license for license in licenses if re.search(r"\bnd\b|no-?deriv", license)), None)
    if forbids:
        reason = f"its license, {forbids}, forbids derivatives"
    elif shape and shape.disputed:
        reason = "sources of its license contradict each other, and one of them forbids derivatives"
    elif not licenses:
        reason = "nothing says what its license is"
    else:
        return
    raise LicenseForbids(
        f"These weights of {name} are {derivation}, and {reason}; serve them as published, or record a waiver and name "
        "it with --waiver."
    )


def _front_matter(folder: Path) -> dict[str, str]:
    """The plain ``key: value`` lines at the top of the model's card."""
    card = folder / "README.md"
    if not card.exists():
        return {}
    match = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    lines = re.findall(r"^(\w+):[ \t]*(\S.*)$", match.group(1), re.MULTILINE) if match else []
    return {key: value.strip().strip("\"'") for key, value in lines}
