"""Reports how a check of an endpoint or a provider went: each step, what came back, what would help. Writes nothing."""

import time
from collections.abc import Awaitable, Callable

import msgspec

from catalog.values import Model
from providers.outcomes import Failure
from providers.statuses import failure as failure_of
from providers.wire import Exchanges
from router.changes.transaction import UnitOfWork
from router.registry.endpoints import EndpointView
from router.registry.indexes import ProviderRecord
from router.request.estimate import token_bound
from router.values import Endpoint, EndpointState
from router.verification import call_steps
from router.verification.advice import advise
from router.verification.call_steps import CallStep, StepOutcome, build_steps, explain_failure, failed_step
from router.verification.cause import UpstreamAnswer, deciding_answer
from router.verification.report import SpaceVerdict, VerificationReport
from router.verification.sample_call import TEXTS, SampleCallResult

# The kind of provider that connects by another library, which shows us no step of it.
LITELLM = "litellm"
NOT_YET_LIVE = "It passed, and gets no traffic yet: activate it."
SERVING = (EndpointState.LIVE, EndpointState.DRAINING)


class CheckReport(msgspec.Struct, frozen=True):
    """How a check went. ``dimensions``, ``tokens`` and ``space`` are what the provider answered; None: not reached.

    ``verification`` is how an endpoint compares with the reference of its space; None where no call was answered.
    ``upstream`` is the call that decided, ``advice`` the setting that would help where it failed: for the operator who
    tests, and written down nowhere.
    """

    passed: bool
    reason: str
    steps: tuple[CallStep, ...]
    dimensions: int | None = None
    tokens: int | None = None
    space: str | None = None
    endpoint: EndpointView | None = None
    verification: VerificationReport | None = None
    upstream: UpstreamAnswer | None = None
    advice: str = ""


# Runs in the transaction that records a check, with the report as it is recorded.
OnChecked = Callable[[UnitOfWork, CheckReport], Awaitable[None]]


def merge(report: CheckReport, verification: VerificationReport, view: EndpointView) -> CheckReport:
    """The sample call and the verification as one report; the verification decides, and the last step is its own."""
    steps = (_space_step(step, verification) if step.name == call_steps.SPACE else step for step in report.steps)
    return msgspec.structs.replace(
        report,
        passed=verification.passed,
        reason="" if verification.passed else verification.reason,
        steps=tuple(steps),
        endpoint=view,
        verification=verification,
    )


def _space_step(step: CallStep, verification: VerificationReport) -> CallStep:
    if step.outcome != "passed":
        return step
    if verification.passed:
        least = "" if verification.cosine_min is None else f"; least cosine {verification.cosine_min:.6f}"
        return CallStep(step.name, "passed", f"{step.detail}; compared with {verification.reference}{least}")
    outcome: StepOutcome = "not_told" if verification.verdict is SpaceVerdict.NO_REFERENCE else "failed"
    return CallStep(step.name, outcome, verification.reason)


def report_call(
    result: SampleCallResult, endpoint: Endpoint, model: Model, record: ProviderRecord, our_tokens: int | None
) -> CheckReport:
    """The report of a sample call, each step of it."""
    details = {
        call_steps.AUTHENTICATE: "with our credential" if record.sealed is not None else "without a credential",
        call_steps.EMBED: f"{len(TEXTS)} texts",
        call_steps.DIMENSIONS: f"{result.dimensions}",
        call_steps.BASE64: call_steps.describe_base64(endpoint, was_refused=result.base64_refused),
        call_steps.USAGE: _describe_usage(result.tokens, our_tokens),
        call_steps.SPACE: _describe_space(result.space, model),
    }
    failed_at, reason = None, result.reason
    if result.failure is not None:
        failed_at, reason = failed_step(result.failure), explain_failure(result.failure)
    elif not result.passed:
        failed_at = call_steps.MEANING
    elif endpoint.upstream_space is not None and result.space != endpoint.upstream_space:
        changed = f"it was {endpoint.upstream_space} when it was tested last, and is {result.space}"
        details[call_steps.SPACE] = changed
    steps = build_steps(
        record.base_url,
        details,
        failed_at=failed_at,
        reason=reason,
        shows_connection=record.kind != LITELLM,
        shows_credential=result.failure is None or call_steps.tells_of_credential(result.failure),
    )
    return CheckReport(result.passed, reason, steps, result.dimensions, result.tokens, result.space)


def _describe_usage(tokens: int | None, our_tokens: int | None) -> str:
    if tokens is None:
        return "the provider tells none; ours is billed"
    if our_tokens is not None:
        return f"{tokens} tokens; ours: {our_tokens}"
    return f"{tokens} tokens; at most {sum(map(token_bound, TEXTS))} are in the texts"


def _describe_space(space: str | None, model: Model) -> str:
    return f"the provider calls it {space}" if space is not None else f"taken for {model.space}: it names none"


def explain(
    report: CheckReport, exchanges: Exchanges, record: ProviderRecord, upstream_model: str, failure: Failure | None
) -> CheckReport:
    """The report with the call that decided, and with what would help where that failed."""
    upstream = deciding_answer(exchanges, failure, is_failed=not report.passed)
    if report.passed:
        state = None if report.endpoint is None else report.endpoint.endpoint.state
        advice = "" if state is None or state in SERVING else NOT_YET_LIVE
        return msgspec.structs.replace(report, upstream=upstream, advice=advice)
    if failure is None and upstream is not None and upstream.status is not None and upstream.status >= 300:
        # A probe's: a verification reports a verdict, and the failure behind it is in the exchange.
        last = next(one for one in reversed(exchanges) if one.status == upstream.status)
        failure = failure_of(upstream.status, last.headers, last.body, time.time())
    advice = "" if failure is None else advise(failure, upstream, record, upstream_model)
    return msgspec.structs.replace(report, upstream=upstream, advice=advice)
