"""Testing what is registered by real calls: the CLI and the admin API ask the same here.

First one call is told step by step; then ``verification.verify`` compares the endpoint with its space's reference and
moves it: live when it passes, quarantined when it does not. One that serves loses its traffic only where it answers
from another space. The calls run outside any transaction. They cost money, so one thing has one test at a time.
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
from router.request.estimate import tokens_most
from router.values import Endpoint, EndpointState, QuarantineCause
from router.verification import call_steps
from router.verification.call_steps import Step
from router.verification.prober import Quota
from router.verification.report import Occasion, Verdict
from router.verification.report import Report as Certified
from router.verification.sample_call import TEXTS, probe
from router.verification.sample_call import Verdict as FirstCall
from router.verification.verify import as_examined, certify
from store.ids import EndpointId, ProviderId, RequestId, new_id, wire
from store.postgres import CONNECTION_LOST, Database

DEADLINE_S = 30.0
LITELLM = "litellm"


class Report(msgspec.Struct, frozen=True):
    """How a test went. ``dimensions``, ``tokens`` and ``space`` are what the provider answered; None: not reached.

    ``certified`` is how an endpoint compares with the reference of its space.
    """

    passed: bool
    reason: str
    steps: tuple[Step, ...]
    dimensions: int | None = None
    tokens: int | None = None
    space: str | None = None
    endpoint: EndpointView | None = None
    certified: Certified | None = None


Ending = Callable[[UnitOfWork, Report], Awaitable[None]]


async def try_endpoint(
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
    ending: Ending | None = None,
) -> Report:
    """One call step by step, then all probes; the endpoint moves by the outcome, and a dry run moves nothing.

    ``as_reference`` is an operator's reason to let its vectors be the space's reference, which it may ``replace``
    though others serve by it. ``ending`` runs in the transaction that records the outcome. Raises ``NotFound``,
    ``StoreUnavailable``, ``InvalidRequest``, ``Conflict`` while another test of the endpoint runs and where somebody
    moved the endpoint meanwhile.
    """
    if replace and not as_reference:
        raise InvalidRequest("What replaces the reference says why it may: as_reference.", param="replace")
    async with _alone(db, wire(EndpointId, endpoint_id)):
        return await _tried(
            db,
            actor,
            endpoint_id,
            record,
            provider,
            as_reference=as_reference,
            replace=replace,
            quota=quota,
            dry_run=dry_run,
            ending=ending,
        )


async def _tried(
    db: Database,
    actor: Actor,
    endpoint_id: EndpointId,
    record: ProviderRecord,
    provider: Provider,
    *,
    as_reference: str,
    replace: bool,
    quota: Quota | None,
    dry_run: bool,
    ending: Ending | None,
) -> Report:
    async with db.transaction() as connection:
        endpoint = (await get_endpoint(connection, endpoint_id)).endpoint
        model = await models.get(connection, endpoint.model_id)
    verdict = await probe(provider, endpoint, model, DEADLINE_S)
    ours = await _our_count(provider, endpoint, verdict)
    told = _report(verdict, endpoint, model, record, ours)
    if not verdict.passed:
        return await _no_first_answer(
            db, actor, record, endpoint, told, verdict.failure, dry_run=dry_run, ending=ending
        )

    async def end(work: UnitOfWork, certified: Certified) -> None:
        full = _joined(told, certified, await get_endpoint(work.connection, endpoint_id))
        after: dict[str, object] = {"passed": full.passed, "reason": full.reason, "dimensions": full.dimensions}
        work.changed(Change("endpoint.test", wire(EndpointId, endpoint_id), after=after))
        if ending is not None:
            await ending(work, full)

    occasion = Occasion.REGISTRATION if endpoint.state is EndpointState.DRAFT else Occasion.MANUAL
    certified = await certify(
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
        ending=end,
    )
    async with db.transaction() as connection:
        return _joined(told, certified, await get_endpoint(connection, endpoint_id))


async def _no_first_answer(
    db: Database,
    actor: Actor,
    record: ProviderRecord,
    endpoint: Endpoint,
    told: Report,
    failure: Failure | None,
    *,
    dry_run: bool,
    ending: Ending | None,
) -> Report:
    """Nothing can be compared: an endpoint without traffic is quarantined, one that serves is left to its breaker.

    What was edited or moved meanwhile stays as it is, and so does what this process could not even ask.
    """
    if dry_run:
        async with db.transaction() as connection:
            return msgspec.structs.replace(told, endpoint=await get_endpoint(connection, endpoint.id))
    # A new credential is all that an endpoint needs whose provider refused ours: it comes back without a second test.
    is_refused = isinstance(failure, CredentialRefused)
    cause = QuarantineCause.CREDENTIAL_REFUSED if is_refused else QuarantineCause.TEST_FAILED

    async def command(work: UnitOfWork) -> Report:
        view, same = await as_examined(work.connection, record, endpoint)
        serves = view.endpoint.state in (EndpointState.LIVE, EndpointState.DRAINING)
        # What probes have quarantined they bring back, too: silence does not end that.
        recovers = view.endpoint.state is EndpointState.QUARANTINED and is_recoverable(view)
        was_asked = not isinstance(failure, Misconfigured)
        if was_asked and same and view.endpoint.state is endpoint.state and not (serves or recovers):
            if endpoint.state is not EndpointState.PROBING:
                await move_endpoint(work, endpoint.id, EndpointState.PROBING, "being tested")
            await move_endpoint(work, endpoint.id, EndpointState.QUARANTINED, told.reason[:300], cause=cause)
        full = msgspec.structs.replace(told, endpoint=await get_endpoint(work.connection, endpoint.id))
        after: dict[str, object] = {"passed": False, "reason": told.reason}
        work.changed(Change("endpoint.test", wire(EndpointId, endpoint.id), after=after))
        if ending is not None:
            await ending(work, full)
        return full

    return await transact(db, actor, command)


def _joined(told: Report, certified: Certified, view: EndpointView) -> Report:
    """The first call and the probes as one report; the probes decide, and the last step is theirs."""
    reason = "" if certified.passed else certified.reason
    return msgspec.structs.replace(
        told,
        passed=certified.passed,
        reason=reason,
        steps=tuple(_compared(step, certified) if step.name == call_steps.SPACE else step for step in told.steps),
        endpoint=view,
        certified=certified,
    )


def _compared(step: Step, certified: Certified) -> Step:
    if step.outcome != "passed":
        return step
    if certified.passed:
        least = "" if certified.cosine_min is None else f"; least cosine {certified.cosine_min:.6f}"
        return Step(step.name, "passed", f"{step.said}; compared with {certified.reference}{least}")
    outcome: call_steps.Outcome = "not_told" if certified.verdict is Verdict.NO_REFERENCE else "failed"
    return Step(step.name, outcome, certified.reason)


async def try_provider(
    db: Database,
    actor: Actor,
    record: ProviderRecord,
    provider: Provider,
    upstream_model: str,
    *,
    dry_run: bool = False,
    ending: Ending | None = None,
) -> Report:
    """One text to a provider, which leaves an audit row and else nothing. ``ending`` runs in its transaction.

    Raises ``StoreUnavailable``, ``Conflict`` while another test of the provider runs.
    """
    subject = wire(ProviderId, record.id)
    async with _alone(db, subject):
        report = await call_provider(record, provider, upstream_model)
        if dry_run:
            return report

        async def command(work: UnitOfWork) -> Report:
            after: dict[str, object] = {"passed": report.passed, "reason": report.reason}
            work.changed(Change("provider.test", subject, after=after))
            if ending is not None:
                await ending(work, report)
            return report

        return await transact(db, actor, command)


async def call_provider(record: ProviderRecord, provider: Provider, upstream_model: str) -> Report:
    """One text to a provider: is it there, and does it take our credential."""
    attempt = Attempt(wire(RequestId, new_id()), upstream_model, texts=TEXTS[:1])
    seen = record.kind != LITELLM
    try:
        vectors = await provider.embed(attempt, DEADLINE_S)
    except Failure as failure:
        said = call_steps.sentence(failure)
        ended = call_steps.failed_step(failure)
        return Report(
            False, said, _without_model(call_steps.told(record.base_url, {}, ended=ended, reason=said, seen=seen))
        )
    width = vectors.matrix.shape[1]
    told = call_steps.told(record.base_url, {call_steps.EMBED: f"{width} dimensions"}, seen=seen)
    return Report(True, "", _without_model(told), width, vectors.tokens, vectors.space)


async def _our_count(provider: Provider, endpoint: Endpoint, verdict: FirstCall) -> int | None:
    """What the model's own tokenizer counts, where a process of ours has it."""
    if not verdict.passed:
        return None
    try:
        return await provider.count(Attempt(wire(RequestId, new_id()), endpoint.upstream_model, texts=TEXTS), 5.0)
    except Failure:
        return None


def _report(verdict: FirstCall, endpoint: Endpoint, model: Model, record: ProviderRecord, ours: int | None) -> Report:
    said = {
        call_steps.AUTHENTICATE: "with our credential" if record.sealed is not None else "without a credential",
        call_steps.EMBED: f"{len(TEXTS)} texts",
        call_steps.DIMENSIONS: f"{verdict.dimensions}",
        call_steps.BASE64: call_steps.base64_told(endpoint),
        call_steps.USAGE: _usage_told(verdict.tokens, ours),
        call_steps.SPACE: _space_told(verdict.space, model),
    }
    ended, reason = None, verdict.reason
    if verdict.failure is not None:
        ended, reason = call_steps.failed_step(verdict.failure), call_steps.sentence(verdict.failure)
    elif not verdict.passed:
        ended = call_steps.MEANING
    elif endpoint.upstream_space is not None and verdict.space != endpoint.upstream_space:
        said[call_steps.SPACE] = f"it was {endpoint.upstream_space} when it was tested last, and is {verdict.space}"
    told = call_steps.told(record.base_url, said, ended=ended, reason=reason, seen=record.kind != LITELLM)
    return Report(verdict.passed, reason, told, verdict.dimensions, verdict.tokens, verdict.space)


def _usage_told(tokens: int | None, ours: int | None) -> str:
    if tokens is None:
        return "the provider tells none; ours is billed"
    if ours is not None:
        return f"{tokens} tokens; ours: {ours}"
    return f"{tokens} tokens; at most {sum(map(tokens_most, TEXTS))} are in the texts"


def _space_told(space: str | None, model: Model) -> str:
    return f"the provider calls it {space}" if space is not None else f"taken for {model.space}: it names none"


def _without_model(told: tuple[Step, ...]) -> tuple[Step, ...]:
    """A provider alone is not asked for a model's width, meaning or space."""
    asked = call_steps.STEPS[: call_steps.STEPS.index(call_steps.NUMBERS)]
    return tuple(step for step in told if step.name in asked)


@asynccontextmanager
async def _alone(db: Database, subject: str) -> AsyncIterator[None]:
    """The only test of this subject, in all processes. Raises ``Conflict``, ``StoreUnavailable``.

    The lock is its own connection's, so it ends with the process; the pool's are not kept while a provider thinks.
    """
    try:
        connection = await db.connect()
    except CONNECTION_LOST as fault:
        raise StoreUnavailable("Postgres cannot be reached. Try again shortly.", detail=repr(fault)) from fault
    key = f"test of {subject}"
    try:
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key):
            raise Conflict(f"A test of {subject} is running, and its calls cost money: wait for its outcome.")
        yield
    finally:
        try:
            # Closing alone would free it a moment after the next test has asked.
            with suppress(*CONNECTION_LOST):
                await connection.execute("SELECT pg_advisory_unlock_all()")
        finally:
            connection.terminate()
