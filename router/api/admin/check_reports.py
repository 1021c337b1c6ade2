"""A test by real calls at the admin API: made once for each Idempotency-Key, and answered as a report."""

from collections.abc import Awaitable, Callable

import msgspec
from fastapi import Request, Response

from router.api.admin.mutation import DRY_RUN, Made, claim_of, is_dry_run, keep, replay
from router.api.admin.parsing import read
from router.api.admin.responses import one
from router.changes import idempotency
from router.changes.transaction import UnitOfWork
from router.verification.endpoint_check import CheckReport, OnChecked


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


async def tested(request: Request, test: Callable[[OnChecked], Awaitable[CheckReport]]) -> Response:
    """Run a test, whose calls no transaction spans, and answer its report; what it gets runs in the one that ends it.

    Raises what the test raises, ``IdempotencyMismatch``.
    """
    dry_run = is_dry_run(request)
    claim = claim_of(request, dry_run=dry_run)
    if claim is not None and (
        kept := await read(request, lambda connection: idempotency.find_outcome(connection, claim))
    ):
        return replay(kept)

    async def on_checked(work: UnitOfWork, report: CheckReport) -> None:
        if claim is not None:
            await idempotency.claim_key(work.connection, claim)
        await keep(work, claim, Made(_out(report)))

    try:
        report = await test(on_checked)
    except idempotency.ReplayedOutcome as before:
        return replay(before.outcome)
    return one(_out(report), headers=DRY_RUN if dry_run else None)


def _out(report: CheckReport) -> TestOut:
    verification = report.verification
    return TestOut(
        passed=report.passed,
        reason=report.reason,
        steps=[StepOut(step.name, step.outcome, step.detail) for step in report.steps],
        dimensions=report.dimensions,
        tokens=report.tokens,
        space=report.space,
        state=None if report.endpoint is None else report.endpoint.endpoint.state.value,
        verdict=None if verification is None else verification.verdict.value,
        cosine_min=None if verification is None else verification.cosine_min,
        numerics=None if verification is None else verification.numerics,
        reference=None if verification is None else verification.reference or None,
        became_reference=None if verification is None else verification.became_reference,
    )
