"""A test by real calls at the admin API: made once for each Idempotency-Key, and answered as a report."""

from collections.abc import Awaitable, Callable
from typing import Literal

from pydantic import Field

from router.api.admin.request import Writing
from router.api.forms import Answer, answer_of
from router.changes import idempotency
from router.changes.transaction import UnitOfWork
from router.values import EndpointState
from router.verification.check_report import CheckReport, OnChecked
from router.verification.report import SpaceVerdict


class StepOut(Answer):
    """One step."""

    name: str
    outcome: str = Field(
        description="passed, failed, not_reached, or not_told where this kind of provider lets us see none."
    )
    said: str


class UpstreamOut(Answer):
    """The call that decided."""

    method: str
    url: str
    status: int | None = Field(description="Null where no answer came.")
    content_type: str | None
    words: str | None = Field(
        description="The first 300 characters of its own words where it refused or failed, our credentials masked."
    )
    leads_to: str | None = Field(description="Where a redirect would lead; none is followed.")


class TestOut(Answer):
    """How the call went."""

    passed: bool
    reason: str
    advice: str = Field(description="The setting that would help, or what to do next; empty where none is known.")
    upstream: UpstreamOut | None = Field(None, description="The call that decided; null where nothing was sent.")
    steps: tuple[StepOut, ...]
    dimensions: int | None
    tokens: int | None
    space: str | None = Field(description="The provider's own name of what it serves.")
    state: EndpointState | None = Field(None, description="Where the endpoint stands now.")
    verdict: SpaceVerdict | None = Field(
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


async def run_test(admin: Writing, test: Callable[[OnChecked], Awaitable[CheckReport]]) -> TestOut:
    """Run a test, whose calls no transaction spans, and answer its report; what it gets runs in the one that ends it.

    Raises what the test raises, ``IdempotencyMismatch``, :class:`router.changes.idempotency.ReplayedOutcome`.
    """
    claim = admin.claim
    if claim is not None and (kept := await admin.read(lambda connection: idempotency.find_outcome(connection, claim))):
        raise idempotency.ReplayedOutcome(kept)

    async def on_checked(work: UnitOfWork, report: CheckReport) -> None:
        if claim is not None:
            await idempotency.claim_key(work.connection, claim)
        await admin.keep(work, _out(report))

    return admin.answer(_out(await test(on_checked)))


def _out(report: CheckReport) -> TestOut:
    steps = tuple(answer_of(StepOut, step, said=step.detail) for step in report.steps)
    upstream = None if report.upstream is None else answer_of(UpstreamOut, report.upstream)
    state = None if report.endpoint is None else report.endpoint.endpoint.state
    verification = report.verification
    if verification is None:
        return answer_of(TestOut, report, steps=steps, state=state, upstream=upstream)
    return answer_of(
        TestOut,
        report,
        steps=steps,
        state=state,
        upstream=upstream,
        verdict=verification.verdict,
        cosine_min=verification.cosine_min,
        numerics=verification.numerics,
        reference=verification.reference or None,
        became_reference=verification.became_reference,
        calls_since_last_good=verification.calls_since,
    )
