"""``/admin/v1/finance/proposals``: operations above a limit, which a second operator approves or rejects."""

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.approval import carry_out
from router.api.admin.proposal_answers import ProposalOut, proposal_out
from router.api.admin.request import Read, Write
from router.api.fields import Flag, ProposalIdText, text_of
from router.api.forms import Body, Page, PageQuery
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.audit import Change
from router.changes.second_person import Proposal, ProposalState, decide, find_proposal, list_proposals
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, NotAllowed, NotFound
from router.identity.members import get_member
from store.ids import PREFIXES, MemberId, ProposalId, parse, wire

operations = Operations("proposals", f"{V1}/finance/proposals", tag="Finance")
ONE = "/{proposal_id}"


class ProposalQuery(PageQuery):
    """Which proposals are listed."""

    open: Flag = Field(False, description="1: only those that can be decided.")


class Approval(Body):
    """What the second person says of it."""

    note: str = Field("", max_length=1000, description="For whoever reads the audit log.")


class Rejection(Body):
    """Why it is not done."""

    reason: Annotated[str, text_of(1000)] = Field(description="Why, for whoever proposed it.")


@operations.get("", verb="list", summary="List proposals", roles=ALL)
async def list_(admin: Read, query: Annotated[ProposalQuery, Query()]) -> Page[ProposalOut]:
    """Operations that wait for a second person, and what became of others; the newest first."""
    after, now = query.after_id(ProposalId), admin.context.db.clock.now()

    async def ask(connection: AsyncConnection) -> list[ProposalOut]:
        before = None if after is None else ProposalId(after)
        rows = await list_proposals(connection, now, only_open=query.open, before=before, most=query.limit + 1)
        return [proposal_out(row, now) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: wire(ProposalId, row.id))


@operations.get(ONE, verb="show", summary="Retrieve a proposal", roles=ALL)
async def retrieve(admin: Read, proposal_id: ProposalIdText) -> ProposalOut:
    """One proposal: what is to be done, and what a dry run of it said."""
    now = admin.context.db.clock.now()

    async def ask(connection: AsyncConnection) -> ProposalOut:
        return proposal_out(_found(await find_proposal(connection, proposal_id), proposal_id), now)

    return await admin.read(ask)


@operations.post(f"{ONE}/approve", verb="approve", summary="Approve a proposal", roles=MONEY)
async def approve(admin: Write, proposal_id: ProposalIdText, body: Approval) -> ProposalOut:
    """Do what another operator proposed, with the very body that they sent; a dry run says what would be.

    Refused with the difference where it would do something else now than when it was proposed.
    """

    async def command(work: UnitOfWork) -> ProposalOut:
        proposal = await _decidable(work, proposal_id)
        await _require_proposer(work, proposal)
        outcome = await carry_out(admin, work, proposal)
        decided = await decide(work, proposal, ProposalState.APPROVED, body.note, outcome)
        _record(work, "proposal.approve", decided)
        return proposal_out(decided, work.now)

    return await admin.change(command)


@operations.post(f"{ONE}/reject", verb="reject", summary="Reject a proposal", roles=MONEY)
async def reject(admin: Write, proposal_id: ProposalIdText, body: Rejection) -> ProposalOut:
    """Decide that it is not done."""

    async def command(work: UnitOfWork) -> ProposalOut:
        proposal = await _decidable(work, proposal_id)
        decided = await decide(work, proposal, ProposalState.REJECTED, body.reason)
        _record(work, "proposal.reject", decided)
        return proposal_out(decided, work.now)

    return await admin.change(command)


async def _decidable(work: UnitOfWork, proposal_id: ProposalId) -> Proposal:
    """An open proposal of somebody else's, its row locked: of two who decide at once, one finds it decided."""
    proposal = _found(await find_proposal(work.connection, proposal_id, locked=True), proposal_id)
    if proposal.state is not ProposalState.OPEN:
        raise Conflict(f"{proposal.decided_by} {proposal.state.value} it at {_minute(proposal.decided_at)}.")
    if proposal.expires_at <= work.now:
        raise Conflict(f"It expired at {_minute(proposal.expires_at)}: propose it anew.")
    if proposal.proposed_by == work.actor:
        raise NotAllowed("Another operator than the one who proposed it decides it.")
    return proposal


async def _require_proposer(work: UnitOfWork, proposal: Proposal) -> None:
    """Whoever proposed it must be an operator who may still do it. Raises ``Conflict``."""
    if not proposal.proposed_by.startswith(f"{PREFIXES[MemberId]}_"):
        return
    try:
        member = await get_member(work.connection, MemberId(parse(MemberId, proposal.proposed_by)))
    except NotFound:
        raise Conflict("Whoever proposed it is no operator any more: reject it.") from None
    if member.role not in MONEY:
        raise Conflict("Whoever proposed it may not do it any more: reject it.")


def _record(work: UnitOfWork, action: str, proposal: Proposal) -> None:
    facts: dict[str, object] = {"operation": proposal.operation, "proposed_by": proposal.proposed_by}
    subject = wire(ProposalId, proposal.id)
    work.record_change(Change(action, subject, proposal.account_id, after=facts, reason=proposal.note))


def _found(proposal: Proposal | None, proposal_id: ProposalId) -> Proposal:
    if proposal is None:
        raise NotFound(f"There is no proposal {wire(ProposalId, proposal_id)}.", param="proposal")
    return proposal


def _minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%dT%H:%MZ}" if at else "?"
