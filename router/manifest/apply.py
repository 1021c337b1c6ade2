"""Plans and applies the manifest by the commands that operators use: all changes in one transaction, or none.

A plan is the rehearsal of an apply: the same commands in a transaction that is rolled back, so that it refuses what an
apply would refuse. An apply records what it applied in the transaction of the changes.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import msgspec
from sqlalchemy.exc import DBAPIError

from billing.money import from_usd, to_usd
from billing.usage import sum_use
from catalog.errors import CatalogError
from router.changes.audit import Actor, Change
from router.changes.transaction import RUN_AGAIN, UnitOfWork, transact
from router.errors import Conflict, Refusal
from router.manifest import current_state
from router.manifest.diff import compute_diff
from router.manifest.execute import execute
from router.manifest.impact import impact_of
from router.manifest.report import drift_line
from router.manifest.values import (
    CurrentState,
    Customers,
    Decisions,
    Diff,
    Entry,
    FileRefused,
    Impact,
    Kind,
    LastApplied,
    Plan,
    PlanStep,
    Source,
    Verb,
)
from router.registry.costs import is_paid, zero_cost_question
from router.registry.indexes import ProviderRecord
from router.tables import Json
from router.values import EndpointState
from store.postgres import Database, now_of

# An account is a model's customer if it used it within this time.
CUSTOMER_WITHIN = timedelta(days=30)
REHEARSALS = 5

CheckProvider = Callable[[ProviderRecord], Awaitable[None]]


class ApplyRequest(msgspec.Struct, frozen=True):
    """What an apply is to do.

    ``desired`` answers the manifest's entries for the current state; ``prepare`` runs before the state is read.
    ``check_provider`` raises where a provider's record could not be called. ``ending`` runs with the plan that was
    applied, in the transaction that applied it.
    """

    desired: Callable[[CurrentState], Sequence[Entry]]
    decisions: Decisions = Decisions()
    source: Source = "file"
    check_provider: CheckProvider | None = None
    prepare: Callable[[UnitOfWork], Awaitable[None]] | None = None
    ending: Callable[[UnitOfWork, Plan], Awaitable[None]] | None = None


async def plan(db: Database, actor: Actor, request: ApplyRequest) -> Plan:
    """Find what an apply would do now, what it affects, and what would refuse it. Changes nothing."""
    planned = await _rehearse(db, actor, request)
    now = db.clock.now()
    # Outside of the rehearsal, whose locks nobody should wait for while a month of usage is read.
    async with db.transaction() as connection:
        usage = await sum_use(connection, now - CUSTOMER_WITHIN, now, planned.impact.models)
    customers = tuple(Customers(use.model_id, use.accounts, use.calls, use.charged) for use in usage)
    return msgspec.structs.replace(planned, impact=msgspec.structs.replace(planned.impact, customers=customers))


async def apply(db: Database, actor: Actor, request: ApplyRequest) -> Plan:
    """Bring the database to the desired state in one transaction; a second apply changes nothing.

    Raises ``FileRefused`` for faults, ``Conflict`` for drift that is not decided and for an endpoint that would be sold
    below its cost, and what the commands raise.
    """

    async def command(work: UnitOfWork) -> Plan:
        state, diff, impact = await _compare(work, request)
        if diff.faults:
            raise FileRefused(diff.faults)
        if refusals := _refusals(diff, impact, request.decisions, state):
            raise Conflict(" ".join(refusals))
        waiting = await execute(work, state, diff.steps, request.check_provider)
        plan = Plan(_without_waiting(diff, waiting), impact, tuple(waiting.values()))
        if not work.changes:
            raise _NothingChanged(plan)
        after: Json = {"source": request.source, "changes": len(plan.diff.steps)}
        work.record_change(Change("catalogue.apply", "catalogue", after=after))
        await _record(work, request, state, diff, waiting)
        if request.ending is not None:
            await request.ending(work, plan)
        return plan

    try:
        return await transact(db, actor, command)
    except _NothingChanged as nothing:
        await _record_without_changes(db, actor, request, nothing.plan)
        return nothing.plan


class _NothingChanged(Exception):
    """Ends a transaction that would change nothing but the record of the last apply: it leaves no audit row."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


class _Rehearsed(Exception):
    """Rolls a rehearsal back."""


async def _record_without_changes(db: Database, actor: Actor, request: ApplyRequest, applied: Plan) -> None:
    async with db.transaction() as connection:
        work = UnitOfWork(connection, actor, db.clock.now())
        state, diff, _ = await _compare(work, request)
        # Other steps than launches that still wait came up since the first transaction, and are for the next apply.
        if all(step.verb is Verb.LAUNCH for step in diff.steps) and not diff.conflicts:
            await _record(work, request, state, diff, {step.subject: "" for step in diff.steps})
        if request.ending is not None:
            await request.ending(work, applied)


async def _record(
    work: UnitOfWork, request: ApplyRequest, state: CurrentState, diff: Diff, waiting: Mapping[str, str]
) -> None:
    applied = _applied(diff, waiting)
    await current_state.record_applied(work.connection, request.source, work.actor, state, applied, diff.stale)


async def _rehearse(db: Database, actor: Actor, request: ApplyRequest) -> Plan:
    """Plan on one snapshot and without the lock of an apply: only who changes the same rows just now waits for it."""
    planned: list[Plan] = []
    for attempt in range(REHEARSALS):
        try:
            async with db.transaction(snapshot=True) as connection:
                planned.append(await _plan_in(UnitOfWork(connection, actor, db.clock.now()), request))
                raise _Rehearsed
        except _Rehearsed:
            break
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in RUN_AGAIN:
                raise
            if attempt + 1 == REHEARSALS:
                raise Conflict(
                    "Others are changing what would be changed. Try again shortly.", retry_after_s=1
                ) from error
    return planned[-1]


async def _plan_in(work: UnitOfWork, request: ApplyRequest) -> Plan:
    state, diff, impact = await _compare(work, request, locked=False)
    refusals = _refusals(diff, impact, request.decisions, state)
    if diff.faults or diff.conflicts:
        return Plan(diff, impact, (), tuple(refusals))
    try:
        waiting = await execute(work, state, diff.steps, request.check_provider)
    except (Refusal, CatalogError) as refusal:
        return Plan(diff, impact, (), (*refusals, refusal.message))
    return Plan(_without_waiting(diff, waiting), impact, tuple(waiting.values()), tuple(refusals))


async def _compare(
    work: UnitOfWork, request: ApplyRequest, *, locked: bool = True
) -> tuple[CurrentState, Diff, Impact]:
    if request.prepare is not None:
        await request.prepare(work)
    if locked:
        await current_state.lock(work.connection)
        # Who waited for another apply finds the prices that it set in force.
        work.now = await now_of(work.connection)
    state = await current_state.load(work.connection, request.source, work.now)
    diff = compute_diff(request.desired(state), state, request.decisions, work.now)
    return state, diff, impact_of(diff.steps, state, work.now)


def _refusals(diff: Diff, impact: Impact, decisions: Decisions, state: CurrentState) -> list[str]:
    sentences = [f"{drift_line(drift)}." for drift in diff.conflicts]
    if sentences:
        sentences.append("This was changed elsewhere. Say whose value holds, by its path: take_file or take_theirs.")
    losses = [
        row
        for row in impact.margins
        if row.is_loss and not (decisions.allow_loss_of_drafts and _is_draft(state, row.endpoint))
    ]
    if losses and not decisions.allow_loss:
        sentences += [
            f"{row.endpoint} would be sold below its cost ({row.lane}): {to_usd(row.price)} USD per million tokens for "
            f"{to_usd(row.cost)}, {row.percent} of the price."
            for row in losses
        ]
        sentences.append("If that is meant, say so: allow_loss.")
    if not decisions.allow_zero_cost:
        sentences += [
            f"{step.subject}: {sentence}" for step in diff.steps if (sentence := _cost_taken_away(step, state))
        ]
    return sentences


def _cost_taken_away(step: PlanStep, state: CurrentState) -> str:
    """The question about a step that sets the cost of an endpoint that serves to 0 at a paid provider; else empty."""
    endpoint = state.endpoints.get(step.subject) if step.kind is Kind.ENDPOINT and step.verb is Verb.CHANGE else None
    if endpoint is None or endpoint.state not in (EndpointState.LIVE, EndpointState.DRAINING):
        return ""
    is_taken = endpoint.cost_nano_per_mtok > 0 and from_usd(str(step.fields_after["cost_usd_per_mtok"])) == 0
    provider = state.providers[endpoint.provider_name]
    needs_word = is_taken and is_paid(endpoint.provider_kind, has_credential=provider.has_credential)
    return zero_cost_question(endpoint.provider_name) if needs_word else ""


def _is_draft(state: CurrentState, subject: str) -> bool:
    """Whether an endpoint gets no traffic before its test; one that is not registered yet begins as a draft."""
    endpoint = state.endpoints.get(subject)
    return endpoint is None or endpoint.state is EndpointState.DRAFT


def _without_waiting(diff: Diff, waiting: Mapping[str, str]) -> Diff:
    """The diff without the launches that wait."""
    steps = tuple(step for step in diff.steps if step.verb is not Verb.LAUNCH or step.subject not in waiting)
    return msgspec.structs.replace(diff, steps=steps)


def _applied(diff: Diff, waiting: Mapping[str, str]) -> dict[tuple[Kind, str], LastApplied]:
    """What the apply records: a launch that waits has not been applied."""
    applied = dict(diff.applied)
    for subject in waiting:
        name = (Kind.MODEL, subject)
        if name in applied:
            fields = {field: value for field, value in applied[name].fields.items() if field != "status"}
            applied[name] = msgspec.structs.replace(applied[name], fields=fields)
    return applied
