"""Finds models that a reader of one may look for, each with the reason. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from catalog.values import Model
from store.ids import ModelId

MANY: Final = 12
# Parameters that differ by no more than this factor are near.
NEAR: Final = 1.6


class Relative(msgspec.Struct, frozen=True):
    """Another model, and why it is shown."""

    id: ModelId
    reason: str


def relatives_of(model: Model, others: Iterable[Model]) -> tuple[Relative, ...]:
    """The same family first, by size; then those of the same space, then those of near size."""
    ranked: list[tuple[tuple[int, float, str], Relative]] = []
    for other in others:
        if other.id == model.id:
            continue
        found = _relation(model, other)
        if found is not None:
            rank, distance, reason = found
            ranked.append(((rank, distance, other.id), Relative(other.id, reason)))
    return tuple(relative for _, relative in sorted(ranked, key=lambda one: one[0])[:MANY])


def same_space(model: Model, others: Iterable[Model]) -> tuple[ModelId, ...]:
    """The other models whose vectors can be compared with this one's."""
    return tuple(other.id for other in others if other.space == model.space and other.id != model.id)


def family_of(model: Model) -> str:
    """What the ids of one family have in common: ``codefuse-ai/F2LLM-v2`` of ``codefuse-ai/F2LLM-v2-4B``."""
    return model.id.rpartition("-")[0]


def _relation(model: Model, other: Model) -> tuple[int, float, str] | None:
    size = float(other.parameters or 0)
    if other.space == model.space:
        return 1, size, "same space: vectors can be compared"
    if family_of(model) == family_of(other) and model.owned_by == other.owned_by:
        return 0, size, "same family, other space"
    if model.parameters and other.parameters:
        factor = max(model.parameters, other.parameters) / min(model.parameters, other.parameters)
        if factor <= NEAR:
            return 2, factor, "near in size, other space"
    return None
