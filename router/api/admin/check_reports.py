"""A test by real calls at the admin API: made once for each Idempotency-Key, and answered as a report."""

from collections.abc import Awaitable, Callable
from typing import Literal

from pydantic import Field

from router.api.admin.request import Writing
from router.api.forms import Answer, answer_of
from router.changes import idempotency
from router.changes.transaction import UnitOfWork
from router.values import EndpointState
from router.verification.endpoint_check import Ending, Report
from router.verification.report import Verdict


class StepOut(Answer):
    """One step."""

    name: str
    outcome: str = Field(
        description="passed, failed, not_reached, or not_told where this kind of provider lets us see none."
    )
    said: str


class TestOut(Answer):
    """How the call went."""

    passed: bool
    reason: str
    steps: tuple[StepOut, ...]
    dimensions: int | None
    tokens: int | None
    space: str | None = Field(description="The provider's own name of what it serves.")
    state: EndpointState | None = Field(None, description="Where the endpoint stands now.")
    verdict: Verdict | None = Field(
        None, description="How the endpoint compares with the reference of its space; no_reference: there is none yet."
    )
    cosine_min: float | None = Field(None, description="The least of all probes.")
    numerics: str | None = None
    reference: str | None = None
    became_reference: bool | None = Field(
        None, description="Whether its vectors are the space's reference from now on."
    )
    calls_since_last_good: int | None = Field(
        None, description="Of one that answers from another space: its calls since it was last seen right."
    )
    object: Literal["test"] = "test"


async def run_test(admin: Writing, test: Callable[[Ending], Awaitable[Report]]) -> TestOut:
    """Run a test, whose calls no transaction spans, and answer its report; what it gets runs in the one that ends it.

    Raises what the test raises, ``IdempotencyMismatch``, :class:`router.changes.idempotency.ReplayedOutcome`.
    """
    claim = admin.claim
    if claim is not None and (kept := await admin.read(lambda connection: idempotency.find(connection, claim))):
        raise idempotency.ReplayedOutcome(kept)

    async def ending(work: UnitOfWork, report: Report) -> None:
        if claim is not None:
            await idempotency.begin(work.connection, claim)
        await admin.keep(work, _out(report))

    return admin.answer(_out(await test(ending)))


def _out(report: Report) -> TestOut:
    steps = tuple(answer_of(StepOut, step) for step in report.steps)
    state = None if report.endpoint is None else report.endpoint.endpoint.state
    certified = report.certified
    if certified is None:
        return answer_of(TestOut, report, steps=steps, state=state)
    return answer_of(
        TestOut,
        report,
        steps=steps,
        state=state,
        verdict=certified.verdict,
        cosine_min=certified.cosine_min,
        numerics=certified.numerics,
        reference=certified.reference or None,
        became_reference=certified.became_reference,
        calls_since_last_good=certified.calls_since,
    )
