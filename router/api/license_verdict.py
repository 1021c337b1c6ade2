"""The form of a license's verdict (:mod:`catalog.verdict`), for the public API."""

from datetime import date

from pydantic import Field

from catalog.verdict import Chip, UseVerdict, Verdict
from router.api.fields import Instant
from router.api.forms import Answer, answer_of


class StatedLicenseOut(Answer):
    """What one source says of the license."""

    license: str
    name: str
    url: str = Field(description="The license's text; empty where its terms are not known here.")
    source: str
    evidence: str
    claimed_on: date
    settled: bool = Field(description="Whether a resolution has ruled on it; until then it binds.")


class ResolutionFacts(Answer):
    """An operator's ruling on which license holds."""

    license: str
    reason: str
    evidence: str
    decided_at: Instant


class UseOut(Answer):
    """What holds for one use, or for one thing that we may do."""

    what: str
    allowed: bool
    reasons: tuple[str, ...]
    lifted_by: str = Field(description="What would allow it; empty where it is allowed.")
    attribution: str | None


class LicenseVerdict(Answer):
    """What the license record of a model means, for a reader whose keys are not known."""

    in_words: Chip
    license: str = Field(description="What binds now, as an SPDX expression: AND is all of these at once.")
    conflict: bool
    disagreement: str = Field(description="Who says what, where sources disagree.")
    claims: tuple[StatedLicenseOut, ...]
    resolution: ResolutionFacts | None
    uses: tuple[UseOut, ...]
    charging: UseOut = Field(description="Whether money may be asked for it.")
    weights: UseOut = Field(description="Whether quantized or pruned weights may be served under its name.")
    acceptances: tuple[str, ...] = Field(
        description="Licenses whose text an account accepts before its keys may call it."
    )
    conditions: tuple[str, ...]
    estimate: str = Field(description="What an estimate of the price is worth where money may not be asked.")


def verdict_form(verdict: Verdict) -> LicenseVerdict:
    """The verdict as it is answered."""
    ruled = verdict.resolution
    return answer_of(
        LicenseVerdict,
        verdict,
        in_words=verdict.chip,
        claims=tuple(answer_of(StatedLicenseOut, claim) for claim in verdict.claims),
        resolution=None if ruled is None else answer_of(ResolutionFacts, ruled),
        uses=tuple(_use(use) for use in verdict.uses),
        charging=_use(verdict.charging),
        weights=_use(verdict.weights),
        acceptances=tuple(license_id for license_id, _ in verdict.acceptances),
    )


def _use(verdict: UseVerdict) -> UseOut:
    return answer_of(UseOut, verdict)
