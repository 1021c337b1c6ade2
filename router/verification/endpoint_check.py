"""Checks an endpoint or a provider by real calls, for the command line and the admin API alike.

One sample call is reported step by step; then :mod:`router.verification.verify` compares the endpoint with its space's
reference and moves it: live when it passes, quarantined when it does not. An endpoint that serves loses its traffic
only where it answers from another space. The calls run outside any transaction. They cost money, so an endpoint or a
provider has one check at a time.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec

from catalog import models
from catalog.values import Model
from providers.outcomes import CredentialRefused, Failure, Misconfigured
from providers.protocol import Attempt, Provider
from router.changes.audit import Actor, Change
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict, InvalidRequest, StoreUnavailable
from router.registry.endpoints import EndpointView, get_endpoint, is_recoverable, move_endpoint
from router.registry.indexes import ProviderRecord
from router.request.estimate import token_bound
from router.values import Endpoint, EndpointState, QuarantineCause
from router.verification import call_steps
from router.verification.call_steps import CallStep, StepOutcome, build_steps, explain_failure, failed_step
from router.verification.prober import Quota
from router.verification.report import Occasion, SpaceVerdict, VerificationReport
from router.verification.sample_call import TEXTS, SampleCallResult, make_sample_call
from router.verification.verify import lock_and_compare, verify_endpoint
from store.ids import EndpointId, ProviderId, RequestId, new_id, wire
from store.postgres import CONNECTION_LOST, Database

DEADLINE_S = 30.0
COUNT_DEADLINE_S = 5.0
# The kind of provider that connects by another library, which shows us no step of it.
LITELLM = "litellm"


class CheckReport(msgspec.Struct, frozen=True):
    """How a check went. ``dimensions``, ``tokens`` and ``space`` are what the provider answered; None: not reached.

    ``verification`` is how an endpoint compares with the reference of its space; None where no call was answered.
    """

    passed: bool
    reason: str
    steps: tuple[CallStep, ...]
    dimensions: int | None = None
    tokens: int | None = None
    space: str | None = None
    endpoint: EndpointView | None = None
    verification: VerificationReport | None = None


# Runs in the transaction that records a check, with the report as it is recorded.
OnChecked = Callable[[UnitOfWork, CheckReport], Awaitable[None]]


async def check_endpoint(
    db: Database,
    actor: Actor,
    endpoint_id: EndpointId,
    record: ProviderRecord,
    provider: Provider,
    *,
    as_reference: str = "",
    replace: bool = False,
    quota: Quota | None = None,
    dry_run: bool = False,
    on_checked: OnChecked | None = None,
) -> CheckReport:
    """Make a sample call, then verify the endpoint, which moves it; a dry run makes the calls and moves nothing.

    ``as_reference`` is an operator's reason to let its vectors be the space's reference, which it may ``replace``
    though others serve by it. Raises ``NotFound``, ``StoreUnavailable``, ``InvalidRequest``, ``Conflict`` while another
    check of the endpoint runs and where somebody moved the endpoint meanwhile.
    """
    if replace and not as_reference:
        raise InvalidRequest("What replaces the reference says why it may: as_reference.", param="replace")
    async with _only_check_of(db, wire(EndpointId, endpoint_id)):
        async with db.transaction() as connection:
            endpoint = (await get_endpoint(connection, endpoint_id)).endpoint
            model = await models.get(connection, endpoint.model_id)
        result = await make_sample_call(provider, endpoint, model, DEADLINE_S)
        our_tokens = await _count_ourselves(provider, endpoint) if result.passed else None
        report = _report_call(result, endpoint, model, record, our_tokens)
        if not result.passed:
            return await _record_unanswered(
                db, actor, record, endpoint, report, result.failure, dry_run=dry_run, on_checked=on_checked
            )

        async def on_verified(work: UnitOfWork, verification: VerificationReport) -> None:
            full = _merge(report, verification, await get_endpoint(work.connection, endpoint_id))
            after: dict[str, object] = {"passed": full.passed, "reason": full.reason, "dimensions": full.dimensions}
            work.record_change(Change("endpoint.test", wire(EndpointId, endpoint_id), after=after))
            if on_checked is not None:
                await on_checked(work, full)

        occasion = Occasion.REGISTRATION if endpoint.state is EndpointState.DRAFT else Occasion.MANUAL
        verification = await verify_endpoint(
            db,
            record,
            provider,
            endpoint,
            model,
            actor,
            occasion,
            as_reference=as_reference,
            replace=replace,
            quota=quota,
            dry_run=dry_run,
            on_verified=on_verified,
        )
        async with db.transaction() as connection:
            return _merge(report, verification, await get_endpoint(connection, endpoint_id))


async def _record_unanswered(
    db: Database,
    actor: Actor,
    record: ProviderRecord,
    endpoint: Endpoint,
    report: CheckReport,
    failure: Failure | None,
    *,
    dry_run: bool,
    on_checked: OnChecked | None,
) -> CheckReport:
    """Record a sample call without an answer: an endpoint without traffic is quarantined, others keep their state.

    An endpoint that serves is left to its circuit breaker, one in a quarantine that probes may end to its probes. What
    was edited or moved meanwhile stays as it is, and so does an endpoint that this process could not even call.
    """
    if dry_run:
        async with db.transaction() as connection:
            return msgspec.structs.replace(report, endpoint=await get_endpoint(connection, endpoint.id))
    # A new credential is all that an endpoint needs whose provider refused ours: it comes back without a second check.
    is_refused = isinstance(failure, CredentialRefused)
    cause = QuarantineCause.CREDENTIAL_REFUSED if is_refused else QuarantineCause.TEST_FAILED

    async def command(work: UnitOfWork) -> CheckReport:
        view, is_same = await lock_and_compare(work.connection, record, endpoint)
        state = view.endpoint.state
        stays = state in (EndpointState.LIVE, EndpointState.DRAINING) or is_recoverable(view)
        was_called = not isinstance(failure, Misconfigured)
        if was_called and is_same and state is endpoint.state and not stays:
            if state is not EndpointState.PROBING:
                await move_endpoint(work, endpoint.id, EndpointState.PROBING, "being tested")
            await move_endpoint(work, endpoint.id, EndpointState.QUARANTINED, report.reason[:300], cause=cause)
        full = msgspec.structs.replace(report, endpoint=await get_endpoint(work.connection, endpoint.id))
        after: dict[str, object] = {"passed": False, "reason": report.reason}
        work.record_change(Change("endpoint.test", wire(EndpointId, endpoint.id), after=after))
        if on_checked is not None:
            await on_checked(work, full)
        return full

    return await transact(db, actor, command)


def _merge(report: CheckReport, verification: VerificationReport, view: EndpointView) -> CheckReport:
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


async def check_provider(
    db: Database,
    actor: Actor,
    record: ProviderRecord,
    provider: Provider,
    upstream_model: str,
    *,
    dry_run: bool = False,
    on_checked: OnChecked | None = None,
) -> CheckReport:
    """Send one text to a provider, and leave nothing but an audit row.

    Raises ``StoreUnavailable``, ``Conflict`` while another check of the provider runs.
    """
    subject = wire(ProviderId, record.id)
    async with _only_check_of(db, subject):
        report = await call_provider(record, provider, upstream_model)
        if dry_run:
            return report

        async def command(work: UnitOfWork) -> CheckReport:
            after: dict[str, object] = {"passed": report.passed, "reason": report.reason}
            work.record_change(Change("provider.test", subject, after=after))
            if on_checked is not None:
                await on_checked(work, report)
            return report

        return await transact(db, actor, command)


async def call_provider(record: ProviderRecord, provider: Provider, upstream_model: str) -> CheckReport:
    """Send one text to a provider, and report whether it is there and takes our credential. Raises nothing of it."""
    attempt = Attempt(wire(RequestId, new_id()), upstream_model, texts=TEXTS[:1])
    shows_connection = record.kind != LITELLM
    try:
        vectors = await provider.embed(attempt, DEADLINE_S)
    except Failure as failure:
        reason, failed_at = explain_failure(failure), failed_step(failure)
        steps = build_steps(record.base_url, {}, failed_at=failed_at, reason=reason, shows_connection=shows_connection)
        return CheckReport(False, reason, _without_model(steps))
    width = vectors.matrix.shape[1]
    details = {call_steps.EMBED: f"{width} dimensions"}
    steps = build_steps(record.base_url, details, shows_connection=shows_connection)
    return CheckReport(True, "", _without_model(steps), width, vectors.tokens, vectors.space)


async def _count_ourselves(provider: Provider, endpoint: Endpoint) -> int | None:
    """The texts' tokens by the model's own tokenizer, None where no process of ours has it."""
    attempt = Attempt(wire(RequestId, new_id()), endpoint.upstream_model, texts=TEXTS)
    try:
        return await provider.count(attempt, COUNT_DEADLINE_S)
    except Failure:
        return None


def _report_call(
    result: SampleCallResult, endpoint: Endpoint, model: Model, record: ProviderRecord, our_tokens: int | None
) -> CheckReport:
    details = {
        call_steps.AUTHENTICATE: "with our credential" if record.sealed is not None else "without a credential",
        call_steps.EMBED: f"{len(TEXTS)} texts",
        call_steps.DIMENSIONS: f"{result.dimensions}",
        call_steps.BASE64: call_steps.describe_base64(endpoint),
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
        record.base_url, details, failed_at=failed_at, reason=reason, shows_connection=record.kind != LITELLM
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


def _without_model(steps: tuple[CallStep, ...]) -> tuple[CallStep, ...]:
    """The steps of a call without a model of ours, whose width, meaning and space cannot be checked."""
    names = call_steps.STEPS[: call_steps.STEPS.index(call_steps.NUMBERS)]
    return tuple(step for step in steps if step.name in names)


@asynccontextmanager
async def _only_check_of(db: Database, subject: str) -> AsyncIterator[None]:
    """Hold the lock of this subject's checks in all processes. Raises ``Conflict``, ``StoreUnavailable``.

    The lock is its own connection's, so it ends with the process; the pool's are not kept while a provider thinks.
    """
    try:
        connection = await db.connect()
    except CONNECTION_LOST as fault:
        raise StoreUnavailable("Postgres cannot be reached. Try again shortly.", detail=repr(fault)) from fault
    key = f"test of {subject}"
    try:
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key):
            raise Conflict(
                f"A test of {subject} is running, and its calls cost money: wait for its outcome.", retry_after_s=5
            )
        yield
    finally:
        try:
            # Closing alone would free it a moment after the next check has tried to take it.
            with suppress(*CONNECTION_LOST):
                await connection.execute("SELECT pg_advisory_unlock_all()")
        finally:
            connection.terminate()
