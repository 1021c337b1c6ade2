"""Shows a second person what the first one saw, and lets them approve or reject it."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Crumb, Page
from web.faults import NotFound
from web.forms import Change, changes_of
from web.ops.account import DoneQuery
from web.ops.write import OPERATIONS, Field, Write
from web.parts.tables import Column
from web.request import PageRequest


class Proposal(msgspec.Struct, frozen=True):
    """An operation that waits, or what became of it."""

    id: str
    state: str
    kind: str
    account: str | None
    amount_usd: str
    limit_usd: str
    operation: str
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    note: str


class _Changes(msgspec.Struct, frozen=True):
    """What the operation said that it would answer and change, and the body with which it was sent."""

    would_answer: Any
    would_change: list[dict[str, Any]]
    body: Any


class ProposalPage(Page, frozen=True, kw_only=True):
    """A proposal."""

    template: ClassVar[str] = "ops/proposal.html"

    proposal: Proposal
    typed: tuple[Change, ...]
    answers: tuple[Change, ...]
    changes: tuple[Change, ...]
    head: tuple[Column, ...] = (Column("What"), Column("Now"), Column("Then"))
    is_done: bool = False


async def show(request: PageRequest) -> ProposalPage:
    """What was proposed, by whom, and what it would change."""
    query = request.query_as(DoneQuery)
    try:
        known = {"proposal_id": request.values["proposal"]}
        read = await request.run("retrieve_proposal", Proposal, path=known)
    except OperationRefused as refused:
        if refused.status in (400, 404):
            raise NotFound from None
        raise
    found = msgspec.json.decode(read.body, type=_Changes)
    typed: dict[str, Any] = found.body if isinstance(found.body, dict) else {}
    return ProposalPage(
        title=f"Proposal of {read.value.amount_usd} USD",
        crumbs=(OPERATIONS, Crumb("Proposals"), Crumb(f"{read.value.amount_usd} USD")),
        proposal=read.value,
        typed=changes_of({}, typed, {name: name.replace("_", " ") for name in typed}),
        answers=_answers(found.would_answer),
        changes=tuple(change for one in found.would_change for change in _changes(one)),
        is_done=query.done,
    )


def _answers(answer: object) -> tuple[Change, ...]:
    """What the first operator was shown before it was proposed; what kind of thing it is, the table need not say."""
    shown = answer if isinstance(answer, dict) else {}
    return changes_of({}, shown, {name: name.replace("_", " ") for name in shown if name not in ("object", "currency")})


def _changes(change: dict[str, Any]) -> tuple[Change, ...]:
    before, after = change.get("before") or {}, change.get("after") or {}
    return changes_of(before, after, {name: f"{change['action']}: {name}" for name in (before | after)})


def _decision(operation: str, verb: str, explanation: str, field: Field, *, is_dangerous: bool = False) -> Write:
    return Write(
        operation=operation,
        verb=verb,
        name="operation",
        explanation=explanation,
        values={"proposal_id": "proposal"},
        reads="retrieve_proposal",
        fields=(field,),
        names={
            "state": "State",
            "kind": "Kind",
            "amount_usd": "Amount, USD",
            "limit_usd": "One operator may do, USD",
            "proposed_by": "Proposed by",
        },
        back="/ops/proposals/{proposal}",
        crumbs=(OPERATIONS, Crumb("Proposals")),
        is_dangerous=is_dangerous,
    )


APPROVE = _decision(
    "approve_proposal",
    "Approve",
    "It is done with the very body that was sent; refused where it would do something else now than was proposed.",
    Field(name="note", label="Reason", kind="area", hint="For whoever looks next."),
)
REJECT = _decision(
    "reject_proposal",
    "Reject",
    "It is not done.",
    Field(name="reason", label="Reason", kind="area", is_required=True, hint="For whoever proposed it."),
    is_dangerous=True,
)
