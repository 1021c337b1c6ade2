"""A plan, and its apply: the changes go through the commands that operators use by hand, all of them or none.

A plan is the rehearsal of an apply: the same commands in a transaction that is rolled back, so that it refuses what an
apply would refuse. What was applied is remembered with the changes.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy.exc import DBAPIError

from billing.money import to_usd
from billing.usage import sum_use
from catalog.errors import CatalogError
from router.changes.audit import Actor, Change
from router.changes.transaction import RUN_AGAIN, UnitOfWork, transact
from router.errors import Conflict, Refusal
from router.manifest import current_state as presently
from router.manifest.diff import difference
from router.manifest.execute import run
from router.manifest.impact import impact
from router.manifest.report import changed_elsewhere
from router.manifest.values import (
    Customers,
    Decisions,
    Difference,
    Entry,
    FileRefused,
    Impact,
    Kind,
    Plan,
    Present,
    Remembered,
    Source,
    Verb,
)
from router.registry.indexes import ProviderRecord
from router.tables import Json
from router.values import EndpointState
from store.postgres import Database

# Who is called a customer of a model: whoever used it in this time.
LATELY = timedelta(days=30)
REHEARSALS = 5

Usable = Callable[[ProviderRecord], Awaitable[None]]


class Order(msgspec.Struct, frozen=True):
    """What is to become of the catalogue.

    ``wanted`` says it, given what there is; ``prepare`` runs before that; ``usable`` raises for a provider that could
    not be spoken to; ``ending`` runs with what was done, in the transaction that did it.
    """

    wanted: Callable[[Present], Sequence[Entry]]
    decisions: Decisions = Decisions()
    source: Source = "file"
    usable: Usable | None = None
    prepare: Callable[[UnitOfWork], Awaitable[None]] | None = None
    ending: Callable[[UnitOfWork, Plan], Awaitable[None]] | None = None


async def plan(db: Database, actor: Actor, order: Order) -> Plan:
    """What an apply would do now, whom it affects, and what would refuse it. Changes nothing."""
    planned = await _rehearse(db, actor, order)
    now = datetime.now(UTC)
    # Counted apart from the rehearsal: it reads a month of usage, and nobody has to wait for that.
    async with db.transaction() as connection:
        used = await sum_use(connection, now - LATELY, now, planned.impact.models)
    customers = tuple(Customers(one.model_id, one.accounts, one.calls, one.charged) for one in used)
    affected = msgspec.structs.replace(planned.impact, customers=customers)
    return msgspec.structs.replace(planned, impact=affected)


async def apply(db: Database, actor: Actor, order: Order) -> Plan:
    """Make the database what is wanted, in one transaction; a second time there is nothing to do.

    Raises ``FileRefused`` for what cannot be, ``Conflict`` for what was changed elsewhere and is not decided and for an
    endpoint that would be sold below its cost, and what the commands raise.
    """

    async def command(work: UnitOfWork) -> Plan:
        present, found, affected = await _compare(work, order)
        if found.faults:
            raise FileRefused(found.faults)
        if refused := _refusals(found, affected, order.decisions, present):
            raise Conflict(" ".join(refused))
        waiting = await run(work, present, found.steps, order.usable)
        done = Plan(_done(found, waiting), affected, tuple(waiting.values()))
        if not work.changes:
            raise _NothingChanged(done)
        after: Json = {"source": order.source, "changes": len(done.difference.steps)}
        work.record_change(Change("catalogue.apply", "catalogue", after=after))
        await presently.remember(work.connection, order.source, actor, present, _applied(found, waiting), found.forget)
        if order.ending is not None:
            await order.ending(work, done)
        return done

    try:
        return await transact(db, actor, command)
    except _NothingChanged as nothing:
        await _remember(db, actor, order, nothing.plan)
        return nothing.plan


class _NothingChanged(Exception):
    """Ends a transaction that would change nothing but what is remembered: it leaves no audit row."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


class _Rehearsed(Exception):
    """Rolls a rehearsal back."""


async def _remember(db: Database, actor: Actor, order: Order, done: Plan) -> None:
    async with db.transaction() as connection:
        work = UnitOfWork(connection, actor, datetime.now(UTC))
        present, found, _ = await _compare(work, order)
        # Anything else than launches that still wait came up meanwhile, and is for the next apply.
        if all(step.verb is Verb.LAUNCH for step in found.steps) and not found.conflicts:
            applied = _applied(found, {step.subject: "" for step in found.steps})
            await presently.remember(connection, order.source, actor, present, applied, found.forget)
        if order.ending is not None:
            await order.ending(work, done)


async def _rehearse(db: Database, actor: Actor, order: Order) -> Plan:
    """On one snapshot and without the lock of an apply: only who changes the same rows just now waits for it."""
    planned: list[Plan] = []
    for attempt in range(REHEARSALS):
        try:
            async with db.transaction(snapshot=True) as connection:
                planned.append(await _rehearsed(UnitOfWork(connection, actor, datetime.now(UTC)), order))
                raise _Rehearsed
        except _Rehearsed:
            break
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in RUN_AGAIN:
                raise
            if attempt + 1 == REHEARSALS:
                raise Conflict("Others are changing what would be changed. Try again shortly.") from error
    return planned[-1]


async def _rehearsed(work: UnitOfWork, order: Order) -> Plan:
    present, found, affected = await _compare(work, order, locked=False)
    refused = _refusals(found, affected, order.decisions, present)
    if found.faults or found.conflicts:
        return Plan(found, affected, (), tuple(refused))
    try:
        waiting = await run(work, present, found.steps, order.usable)
    except (Refusal, CatalogError) as refusal:
        return Plan(found, affected, (), (*refused, refusal.message))
    return Plan(_done(found, waiting), affected, tuple(waiting.values()), tuple(refused))


async def _compare(work: UnitOfWork, order: Order, *, locked: bool = True) -> tuple[Present, Difference, Impact]:
    if order.prepare is not None:
        await order.prepare(work)
    if locked:
        await presently.lock(work.connection)
        # Who waited for another apply finds the prices that it set in force.
        work.now = datetime.now(UTC)
    present = await presently.load(work.connection, order.source, work.now)
    found = difference(order.wanted(present), present, order.decisions, work.now)
    return present, found, impact(found.steps, present, work.now)


def _refusals(found: Difference, affected: Impact, decisions: Decisions, present: Present) -> list[str]:
    said = [f"{changed_elsewhere(drift)}." for drift in found.conflicts]
    if said:
        said.append("This was changed elsewhere. Say whose value holds, by its path: take_file or take_theirs.")
    losses = [
        row
        for row in affected.margins
        if row.is_loss and not (decisions.allow_loss_of_drafts and _is_draft(present, row.endpoint))
    ]
    if losses and not decisions.allow_loss:
        said += [
            f"{row.endpoint} would be sold below its cost ({row.lane}): {to_usd(row.price)} USD per million tokens for "
            f"{to_usd(row.cost)}, {row.percent} of the price."
            for row in losses
        ]
        said.append("If that is meant, say so: allow_loss.")
    return said


def _is_draft(present: Present, endpoint: str) -> bool:
    """Whether it gets no traffic before its test; what is not there yet begins as a draft."""
    there = present.endpoints.get(endpoint)
    return there is None or there.state is EndpointState.DRAFT


def _done(found: Difference, waiting: Mapping[str, str]) -> Difference:
    """Without the launches that wait."""
    steps = tuple(step for step in found.steps if step.verb is not Verb.LAUNCH or step.subject not in waiting)
    return msgspec.structs.replace(found, steps=steps)


def _applied(found: Difference, waiting: Mapping[str, str]) -> dict[tuple[Kind, str], Remembered]:
    """What is to be remembered: a launch that waits has not been applied."""
    remembered = dict(found.remember)
    for subject in waiting:
        name = (Kind.MODEL, subject)
        if name in remembered:
            old = remembered[name]
            fields = {field: value for field, value in old.fields.items() if field != "status"}
            remembered[name] = msgspec.structs.replace(old, fields=fields)
    return remembered
