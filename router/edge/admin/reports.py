"""How a test by one real call is answered."""

import msgspec

from router.testing import Report


class StepOut(msgspec.Struct, frozen=True):
    """One step: passed, failed, not_reached, or not_told where this kind of provider lets us see none."""

    name: str
    outcome: str
    said: str


class TestOut(msgspec.Struct, frozen=True):
    """How the call went. ``space`` is the provider's own name of what it serves; ``state`` where an endpoint stands."""

    passed: bool
    reason: str
    steps: list[StepOut]
    dimensions: int | None
    tokens: int | None
    space: str | None
    state: str | None = None
    object: str = "test"


def test_out(report: Report) -> TestOut:
    """A report as it is answered."""
    return TestOut(
        passed=report.passed,
        reason=report.reason,
        steps=[StepOut(step.name, step.outcome, step.said) for step in report.steps],
        dimensions=report.dimensions,
        tokens=report.tokens,
        space=report.space,
        state=None if report.endpoint is None else report.endpoint.endpoint.state.value,
    )
