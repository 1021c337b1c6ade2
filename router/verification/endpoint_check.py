"""Checks an endpoint by real calls, for the command line and the admin API alike.

One sample call is reported step by step; then :mod:`router.verification.verify` compares the endpoint with its space's
reference and moves it: out of traffic where it answers from another space, and into traffic only where the check is to
activate it. The calls run outside any transaction. They cost money, so an endpoint has one check at a time.
"""

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import models
from catalog.values import Model
from providers.outcomes import CredentialRefused, Failure, Misconfigured
from providers.protocol import Attempt, Provider
from providers.wire import Exchanges, recording
from router.changes.audit import Actor, Change
from router.changes.transaction import UnitOfWork, transact
from router.errors import InvalidRequest
from router.registry.costs import require_cost
from router.registry.endpoints import edit_endpoint, get_endpoint, is_recoverable, move_endpoint
from router.registry.indexes import ProviderRecord
from router.registry.specs import EndpointSpec
from router.values import Endpoint, EndpointState, QuarantineCause
from router.verification.check_lock import only_check_of
from router.verification.check_report import CheckReport, OnChecked, explain, merge, report_call
from router.verification.peers import SpeakingTo
from router.verification.prober import Quota
from router.verification.report import Occasion, VerificationReport
from router.verification.sample_call import TEXTS, make_sample_call_either_way
from router.verification.verify import lock_and_compare, verify_endpoint
from store.ids import EndpointId, RequestId, new_id, wire
from store.postgres import Database

COUNT_DEADLINE_S = 5.0
ON_TRIAL = (EndpointState.DRAFT, EndpointState.PROBING)


class CheckRequest(msgspec.Struct, frozen=True):
    """What a check may decide.

    ``activates``: an endpoint that passes gets traffic. ``allow_zero_cost``: a cost of 0 at a provider that is paid is
    meant. ``as_reference`` is an operator's reason to let its vectors be the space's reference, which it may
    ``replace`` though others serve by it. ``dry_run``: make the calls, and write and move nothing.
    """

    activates: bool = False
    allow_zero_cost: bool = False
    as_reference: str = ""
    replace: bool = False
    dry_run: bool = False


class _Check(msgspec.Struct, frozen=True):
    """What one check works with."""

    db: Database
    actor: Actor
    record: ProviderRecord
    provider: Provider
    request: CheckRequest
    on_checked: OnChecked | None
    exchanges: Exchanges
    quota: Quota | None
    speaking_to: SpeakingTo | None


async def check_endpoint(
    db: Database,
    actor: Actor,
    endpoint_id: EndpointId,
    record: ProviderRecord,
    provider: Provider,
    request: CheckRequest = CheckRequest(),  # noqa: B008 - frozen
    *,
    quota: Quota | None = None,
    speaking_to: SpeakingTo | None = None,
    on_checked: OnChecked | None = None,
) -> CheckReport:
    """Make a sample call, then verify the endpoint, which moves it as ``request`` says.

    Raises ``NotFound``, ``StoreUnavailable``, ``InvalidRequest``, ``Conflict`` while another check of the endpoint
    runs, where somebody moved the endpoint meanwhile, and where a cost of 0 has to be confirmed.
    """
    if request.replace and not request.as_reference:
        raise InvalidRequest("What replaces the reference says why it may: as_reference.", param="replace")
    async with only_check_of(db, wire(EndpointId, endpoint_id)):
        async with db.transaction() as connection:
            endpoint = (await get_endpoint(connection, endpoint_id)).endpoint
            model = await models.get(connection, endpoint.model_id)
        if request.activates:
            require_cost(endpoint.cost_nano_per_mtok, record, allowed=request.allow_zero_cost)
        with recording() as exchanges:
            check = _Check(db, actor, record, provider, request, on_checked, exchanges, quota, speaking_to)
            return await _make_calls(check, endpoint, model)


async def _make_calls(check: _Check, endpoint: Endpoint, model: Model) -> CheckReport:
    """Make the sample call, and the verification where it was answered."""
    record, provider, request = check.record, check.provider, check.request
    result = await make_sample_call_either_way(provider, endpoint, model, record, check.exchanges)
    if result.base64_refused:
        # That call decided nothing any more: whatever fails from here on failed at numbers.
        check.exchanges.clear()
    if result.base64_refused and not request.dry_run:
        endpoint = await _remember_numbers(check, endpoint)
    elif result.base64_refused:
        endpoint = msgspec.structs.replace(endpoint, asks_base64=False)
    our_tokens = await _count_ourselves(provider, endpoint) if result.passed else None
    report = report_call(result, endpoint, model, record, our_tokens)
    if not result.passed:
        report = explain(report, check.exchanges, record, endpoint.upstream_model, result.failure)
        return await _record_unanswered(check, endpoint, report, result.failure)

    async def on_verified(work: UnitOfWork, verification: VerificationReport) -> None:
        full = await _whole(check, endpoint, report, verification, work.connection)
        after: dict[str, object] = {"passed": full.passed, "reason": full.reason, "dimensions": full.dimensions}
        work.record_change(Change("endpoint.test", wire(EndpointId, endpoint.id), after=after))
        if check.on_checked is not None:
            await check.on_checked(work, full)

    verification = await verify_endpoint(
        check.db,
        record,
        provider,
        endpoint,
        model,
        check.actor,
        Occasion.REGISTRATION if endpoint.state is EndpointState.DRAFT else Occasion.MANUAL,
        as_reference=request.as_reference,
        replace=request.replace,
        quota=check.quota,
        speaking_to=check.speaking_to,
        activates=request.activates,
        dry_run=request.dry_run,
        on_verified=on_verified,
    )
    async with check.db.transaction() as connection:
        return await _whole(check, endpoint, report, verification, connection)


async def _whole(
    check: _Check,
    endpoint: Endpoint,
    report: CheckReport,
    verification: VerificationReport,
    connection: AsyncConnection,
) -> CheckReport:
    """The report of the sample call and of the verification, with the endpoint as it is now."""
    merged = merge(report, verification, await get_endpoint(connection, endpoint.id))
    return explain(merged, check.exchanges, check.record, endpoint.upstream_model, None)


async def _remember_numbers(check: _Check, endpoint: Endpoint) -> Endpoint:
    """Write down that the endpoint refuses base64, and return it as it is now."""

    async def command(work: UnitOfWork) -> Endpoint:
        now = (await get_endpoint(work.connection, endpoint.id, locked=True)).endpoint
        spec = msgspec.convert(now, EndpointSpec, from_attributes=True)
        return await edit_endpoint(work, endpoint.id, msgspec.structs.replace(spec, asks_base64=False))

    return await transact(check.db, check.actor, command)


async def _record_unanswered(
    check: _Check, endpoint: Endpoint, report: CheckReport, failure: Failure | None
) -> CheckReport:
    """Record a sample call without an answer: one that is on trial is quarantined, others keep their state.

    An endpoint that serves is left to its circuit breaker, one in quarantine to its probes or to whoever activates it.
    What was edited or moved meanwhile stays as it is, and so does an endpoint that this process could not even call.
    """
    if check.request.dry_run:
        async with check.db.transaction() as connection:
            return msgspec.structs.replace(report, endpoint=await get_endpoint(connection, endpoint.id))
    # A new credential is all that an endpoint needs whose provider refused ours: it comes back without a second check,
    # where it was to be activated.
    is_refused = isinstance(failure, CredentialRefused) and check.request.activates
    cause = QuarantineCause.CREDENTIAL_REFUSED if is_refused else QuarantineCause.TEST_FAILED

    async def command(work: UnitOfWork) -> CheckReport:
        view, is_same = await lock_and_compare(work.connection, check.record, endpoint)
        state = view.endpoint.state
        serves = state in (EndpointState.LIVE, EndpointState.DRAINING)
        is_tried = state in ON_TRIAL or (check.request.activates and not serves and not is_recoverable(view))
        was_called = not isinstance(failure, Misconfigured)
        if was_called and is_same and state is endpoint.state and is_tried:
            if state is not EndpointState.PROBING:
                await move_endpoint(work, endpoint.id, EndpointState.PROBING, "being tested")
            await move_endpoint(work, endpoint.id, EndpointState.QUARANTINED, report.reason[:300], cause=cause)
        full = msgspec.structs.replace(report, endpoint=await get_endpoint(work.connection, endpoint.id))
        after: dict[str, object] = {"passed": False, "reason": report.reason}
        work.record_change(Change("endpoint.test", wire(EndpointId, endpoint.id), after=after))
        if check.on_checked is not None:
            await check.on_checked(work, full)
        return full

    return await transact(check.db, check.actor, command)


async def _count_ourselves(provider: Provider, endpoint: Endpoint) -> int | None:
    """The texts' tokens by the model's own tokenizer, None where no process of ours has it."""
    attempt = Attempt(wire(RequestId, new_id()), endpoint.upstream_model, texts=TEXTS)
    try:
        return await provider.count(attempt, COUNT_DEADLINE_S)
    except Failure:
        return None
