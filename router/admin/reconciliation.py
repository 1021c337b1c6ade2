"""Requests comparisons and works on the queue of differences through the one write path.

What is compared is in :mod:`billing.reconciliation`; the jobs process does it.
"""

from sqlalchemy import text

from billing.money import NanoUSD, to_usd
from billing.reconciliation import differences
from billing.reconciliation.differences import Difference, DifferenceState
from billing.reconciliation.runs import Run, RunKind, request_run
from billing.stripe.config import StripeConfig
from router.admin.payments import require_stripe
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.tables import Json
from store.ids import DifferenceId, EntryId, ReconciliationId, wire

_ENTRY = text("SELECT EXISTS (SELECT FROM entries WHERE id = :id)")
_HAS_AMOUNT = text("SELECT EXISTS (SELECT FROM postings WHERE entry_id = :id AND abs(amount_nano) = abs(:amount))")


async def order_run(work: UnitOfWork, kind: RunKind, stripe: StripeConfig | None) -> Run:
    """Ask jobs to compare now. Raises ``PaymentsNotConfigured`` for Stripe where there is none."""
    if kind is not RunKind.PROVIDERS:
        require_stripe(stripe)
    run = await request_run(work.connection, kind, work.actor)
    work.record_change(Change("reconciliation.run", wire(ReconciliationId, run.id), after={"kind": kind.value}))
    return run


async def assign_difference(
    work: UnitOfWork, difference_id: DifferenceId, owner: str | None, note: str | None
) -> Difference:
    """Say who looks after a difference, and what is known of it. Raises ``NotFound``, ``Conflict``."""
    before = await _require_open(work, difference_id)
    new_owner, new_note = (old if new is None else new for new, old in ((owner, before.owner), (note, before.note)))
    await differences.assign(work.connection, difference_id, new_owner, new_note)
    was, now = ({"owner": before.owner, "note": before.note}, {"owner": new_owner, "note": new_note})
    work.record_change(Change("difference.assign", wire(DifferenceId, difference_id), before={**was}, after={**now}))
    return await _require(work, difference_id)


async def resolve_difference(
    work: UnitOfWork, difference_id: DifferenceId, reason: str, entry_id: EntryId | None
) -> Difference:
    """Close a difference by the entry or the reason that explains it.

    Raises ``NotFound``, ``Conflict``, ``InvalidRequest`` where there is neither, or only an entry of another amount.
    """
    before = await _require_open(work, difference_id)
    if not reason.strip() and entry_id is None:
        raise InvalidRequest(
            "Give the 'entry' that books the difference, or the 'reason' that explains it.", param="reason"
        )
    if entry_id is not None and not await work.connection.scalar(_ENTRY, {"id": entry_id}):
        raise NotFound(f"There is no entry {wire(EntryId, entry_id)}.", param="entry")
    if entry_id is not None and before.amount and not reason.strip():
        facts_of_entry = {"id": entry_id, "amount": before.amount}
        if not await work.connection.scalar(_HAS_AMOUNT, facts_of_entry):
            raise InvalidRequest(
                f"The entry has no leg of {to_usd(NanoUSD(abs(before.amount)))} USD, which is the difference: give the "
                "'reason', too.",
                param="entry",
            )
    await differences.resolve(work.connection, difference_id, work.actor, reason.strip(), entry_id)
    facts: Json = {"object": before.object, "kind": before.kind.value, "amount_usd": to_usd(before.amount)}
    facts["entry"] = None if entry_id is None else wire(EntryId, entry_id)
    work.record_change(Change("difference.resolve", wire(DifferenceId, difference_id), after=facts, reason=reason))
    return await _require(work, difference_id)


async def _require(work: UnitOfWork, difference_id: DifferenceId) -> Difference:
    found = await differences.find_difference(work.connection, difference_id, locked=True)
    if found is None:
        raise NotFound(f"There is no difference {wire(DifferenceId, difference_id)}.", param="difference")
    return found


async def _require_open(work: UnitOfWork, difference_id: DifferenceId) -> Difference:
    found = await _require(work, difference_id)
    if found.state is DifferenceState.RESOLVED:
        raise Conflict(f"{found.resolved_by} resolved it before: {found.reason or 'by an entry'}.")
    if found.state is DifferenceState.GONE:
        raise Conflict("The last comparison found no such difference any more: there is nothing to resolve.")
    return found
