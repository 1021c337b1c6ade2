"""How a test by one real call is answered."""

import msgspec

from router.testing import Report


class StepOut(msgspec.Struct, frozen=True):
    """One step: passed, failed, not_reached, or not_told where this kind of provider lets us see none."""

    name: str
    outcome: str
    said: str


class TestOut(msgspec.Struct, frozen=True):
    """How the call went. ``space`` is the provider's own name of what it serves; ``state`` where an endpoint stands.

    ``verdict`` is how an endpoint compares with the reference of its space: same_space, another_space, no_answer, or
    no_reference where there is none yet; ``cosine_min`` is the least of all probes.
    ``became_reference``: its vectors are the space's reference from now on.
    """

    passed: bool
    reason: str
    steps: list[StepOut]
    dimensions: int | None
    tokens: int | None
    space: str | None
    state: str | None = None
    verdict: str | None = None
    cosine_min: float | None = None
    numerics: str | None = None
    reference: str | None = None
    became_reference: bool | None = None
    object: str = "test"


def test_out(report: Report) -> TestOut:
    """A report as it is answered."""
    certified = report.certified
    return TestOut(
        passed=report.passed,
        reason=report.reason,
        steps=[StepOut(step.name, step.outcome, step.said) for step in report.steps],
        dimensions=report.dimensions,
        tokens=report.tokens,
        space=report.space,
        state=None if report.endpoint is None else report.endpoint.endpoint.state.value,
        verdict=None if certified is None else certified.verdict.value,
        cosine_min=None if certified is None else certified.cosine_min,
        numerics=None if certified is None else certified.numerics,
        reference=None if certified is None else certified.reference or None,
        became_reference=None if certified is None else certified.became_reference,
    )
