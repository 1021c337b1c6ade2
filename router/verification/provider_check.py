"""Checks a provider by one real call: is it there, and does it take our credential. Leaves an audit row alone."""

import msgspec

from providers.outcomes import Failure
from providers.protocol import Attempt, Provider, Vectors
from providers.wire import Exchanges, recording
from router.changes.audit import Actor, Change
from router.changes.transaction import UnitOfWork, transact
from router.registry.indexes import ProviderRecord
from router.verification import call_steps
from router.verification.call_steps import CallStep, build_steps, explain_failure, failed_step
from router.verification.check_lock import only_check_of
from router.verification.check_report import LITELLM, CheckReport, OnChecked, explain
from router.verification.sample_call import DEADLINE_S, TEXTS, may_refuse_base64
from store.ids import ProviderId, RequestId, new_id, wire
from store.postgres import Database

FLOATS_WORK = (
    "It refuses encoding_format base64 and answers numbers: a test of its endpoints finds that out by itself, and the "
    "option asks_base64 = false spares them the attempt."
)


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
    async with only_check_of(db, subject):
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
    with recording() as exchanges:
        vectors, failure, floats_work = await _embed_either_way(record, provider, attempt, exchanges)
    if vectors is None:
        assert failure is not None, "no vectors and no failure; this is a bug"
        reason, failed_at = explain_failure(failure), failed_step(failure)
        steps = build_steps(
            record.base_url,
            {},
            failed_at=failed_at,
            reason=reason,
            shows_connection=shows_connection,
            shows_credential=call_steps.tells_of_credential(failure),
        )
        report = CheckReport(False, reason, _without_model(steps))
        return explain(report, exchanges, record, upstream_model, failure)
    width = vectors.matrix.shape[1]
    details = {call_steps.EMBED: f"{width} dimensions"}
    steps = build_steps(record.base_url, details, shows_connection=shows_connection)
    report = CheckReport(True, "", _without_model(steps), width, vectors.tokens, vectors.space)
    report = explain(report, exchanges, record, upstream_model, None)
    return msgspec.structs.replace(report, advice=FLOATS_WORK) if floats_work else report


async def _embed_either_way(
    record: ProviderRecord, provider: Provider, attempt: Attempt, exchanges: Exchanges
) -> tuple[Vectors | None, Failure | None, bool]:
    """The vectors, or the failure; and whether they came as numbers alone, after base64 was refused."""
    try:
        return await provider.embed(attempt, DEADLINE_S), None, False
    except Failure as failure:
        if not may_refuse_base64(failure, record):
            return None, failure, False
        try:
            with recording() as second:
                floats = await provider.embed(msgspec.structs.replace(attempt, asks_base64=False), DEADLINE_S)
        except Failure:
            return None, failure, False
        exchanges.extend(second)
        return floats, failure, True


def _without_model(steps: tuple[CallStep, ...]) -> tuple[CallStep, ...]:
    """The steps of a call without a model of ours, whose width, meaning and space cannot be checked."""
    names = call_steps.STEPS[: call_steps.STEPS.index(call_steps.NUMBERS)]
    return tuple(step for step in steps if step.name in names)
