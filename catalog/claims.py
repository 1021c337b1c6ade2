"""Pure. Combines the claims about a model's license into the terms that bind now.

Claims that no resolution has settled all bind at once, together with the resolution: the most restrictive combination
of them. So one more claim can take permissions away and never add any, until an operator resolves it.
"""

from collections.abc import Iterable
from functools import lru_cache

import msgspec

from catalog.terms import Terms, find
from catalog.values import Claim, Resolution, Use


class Standing(msgspec.Struct, frozen=True):
    """The combination of terms that binds. ``licenses`` are those in force, ``unknown`` those without known terms."""

    licenses: tuple[str, ...]
    unknown: tuple[str, ...]
    uses: frozenset[Use]
    charging: bool
    derivatives: bool
    attribution: tuple[Terms, ...]
    acceptances: tuple[Terms, ...]
    regions_denied: frozenset[str]
    disagreement: str = ""

    @property
    def is_known(self) -> bool:
        """Whether there is a license and all of its terms are known."""
        return bool(self.licenses) and not self.unknown

    @property
    def conflict(self) -> bool:
        """Whether sources disagree and no operator has resolved it."""
        return len(self.licenses) > 1

    @property
    def license(self) -> str:
        """The license as an SPDX expression: ``AND`` is SPDX's word for "all of these at once"."""
        return " AND ".join(self.licenses) or "NONE"

    def forbidding(self, use: Use) -> tuple[str, ...]:
        """The licenses in force that do not permit a use."""
        return tuple(name for name in self.licenses if (terms := find(name)) is None or use not in terms.uses)


@lru_cache(maxsize=1024)
def combine(claims: tuple[Claim, ...], resolution: Resolution | None) -> Standing:
    """The most restrictive combination of a resolution and the claims that it has not settled."""
    unsettled = [claim for claim in claims if resolution is None or not claim.resolved]
    names = {claim.license for claim in unsettled}
    if resolution is not None:
        names.add(resolution.license)
    licenses = tuple(sorted(names))
    terms = [each for name in licenses if (each := find(name)) is not None]
    unknown = tuple(name for name in licenses if find(name) is None)
    permissive = bool(licenses) and not unknown
    return Standing(
        licenses=licenses,
        unknown=unknown,
        uses=frozenset(use for use in Use if permissive and all(use in each.uses for each in terms)),
        charging=permissive and all(each.charging for each in terms),
        derivatives=permissive and all(each.derivatives for each in terms),
        attribution=tuple(each for each in terms if each.attribution),
        acceptances=tuple(each for each in terms if each.acceptance is not None),
        regions_denied=frozenset[str]().union(*(each.regions_denied for each in terms)),
        disagreement=_disagreement(unsettled, resolution) if len(licenses) > 1 else "",
    )


def _disagreement(unsettled: Iterable[Claim], resolution: Resolution | None) -> str:
    statements = [f"{claim.source} says {claim.license} ({claim.claimed_on.isoformat()})" for claim in unsettled]
    if resolution is not None:
        statements.insert(0, f"it was resolved to {resolution.license} on {resolution.decided_at.date().isoformat()}")
    return f"Sources disagree: {'; '.join(statements)}. Until an operator resolves it with evidence, all of them bind."
