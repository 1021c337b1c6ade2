"""Takes what customers know better of a license, and closes it, through the one write path."""

from typing import Final

from catalog import evidence
from catalog.evidence import Evidence, EvidenceState
from router.admin.accounts import require_account
from router.admin.own_changes import require_few_changes
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, NotFound
from router.tables import Json
from store.ids import AccountId, EvidenceId, ModelId, wire

OPEN_MAX: Final = 10


async def send_evidence(
    work: UnitOfWork, account_id: AccountId, model_id: ModelId, *, body: str, link: str
) -> Evidence:
    """Take what an account knows of a model's license. Raises ``Conflict`` where too much of it waits."""
    await require_account(work, account_id, locked=True)
    if await evidence.count_open(work.connection, account_id) >= OPEN_MAX:
        raise Conflict(
            f"The account has sent {OPEN_MAX} pieces of evidence that nobody has looked at yet. Wait for that."
        )
    await require_few_changes(work, account_id, "evidence", "pieces of evidence")
    evidence_id = await evidence.send(
        work.connection, model_id, account_id, body=body, link=link, sent_by=work.actor, now=work.now
    )
    after: Json = {"model": model_id, "link": link}
    work.record_change(Change("evidence.send", wire(EvidenceId, evidence_id), account_id, after=after))
    return await get_evidence(work, evidence_id)


async def resolve_evidence(work: UnitOfWork, evidence_id: EvidenceId, state: EvidenceState, *, note: str) -> Evidence:
    """Close a piece of evidence; a claim or a resolution that follows from it is recorded apart.

    Raises ``NotFound``, and ``Conflict`` where it is closed.
    """
    before = await evidence.find(work.connection, evidence_id, locked=True)
    if before is None:
        raise NotFound(f"There is no evidence {wire(EvidenceId, evidence_id)}.", param="evidence_id")
    if before.state is not EvidenceState.OPEN:
        raise Conflict(f"It was {before.state} by {before.decided_by} already.")
    await evidence.decide(work.connection, evidence_id, state, note=note, decided_by=work.actor, now=work.now)
    after: Json = {"state": state.value, "note": note}
    work.record_change(
        Change("evidence.resolve", wire(EvidenceId, evidence_id), None, {"state": before.state.value}, after)
    )
    return await get_evidence(work, evidence_id)


async def get_evidence(work: UnitOfWork, evidence_id: EvidenceId) -> Evidence:
    """What was sent under this id. Raises ``NotFound``."""
    found = await evidence.find(work.connection, evidence_id)
    if found is None:
        raise NotFound(f"There is no evidence {wire(EvidenceId, evidence_id)}.", param="evidence_id")
    return found
