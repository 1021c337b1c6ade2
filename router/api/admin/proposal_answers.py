"""Answers of proposals: what waits for a second person, and what became of it."""

from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from billing.money import NanoUSD
from router.api.fields import AccountIdText, Instant, ProposalIdText, Usd
from router.api.forms import Resource
from router.changes.second_person import MoneyKind, Proposal


class ProposalOut(Resource):
    """An operation above a limit, which another operator approves or rejects; nothing is done before that."""

    columns: ClassVar[tuple[str, ...]] = (
        *("id", "state", "kind", "amount_usd", "operation", "proposed_by", "proposed_at", "decided_by"),
    )

    id: ProposalIdText
    state: Literal["open", "approved", "rejected", "expired"]
    kind: MoneyKind
    account: AccountIdText | None
    amount_usd: Usd = Field(
        description="What the limit is compared with: with what the same operator did within a day."
    )
    limit_usd: Usd
    operation: str = Field(description="Method and path of the operation.")
    path: dict[str, str] = Field(description="The values of the path's places.")
    body: Any = Field(description="The body of the operation.")
    would_answer: Any = Field(description="What a dry run answered when it was proposed.")
    would_change: list[Any] = Field(description="What it would change; approving does this or is refused.")
    proposed_by: str
    proposed_at: Instant
    expires_at: Instant
    decided_by: str | None
    decided_at: Instant | None
    note: str = Field(description="What the second person said.")
    outcome: Any = Field(description="What the operation answered once it was approved.")
    object: Literal["proposal"] = "proposal"


def proposal_out(proposal: Proposal, now: datetime) -> ProposalOut:
    """A proposal as it is answered."""
    is_expired = proposal.state.value == "open" and proposal.expires_at <= now
    return ProposalOut(
        id=proposal.id,
        state="expired" if is_expired else proposal.state.value,
        kind=proposal.kind,
        account=proposal.account_id,
        amount_usd=NanoUSD(proposal.amount_nano),
        limit_usd=NanoUSD(proposal.limit_nano),
        operation=proposal.operation,
        path=proposal.path_values,
        body=msgspec.json.decode(proposal.body),
        would_answer=proposal.answer,
        would_change=list(proposal.changes),
        proposed_by=proposal.proposed_by,
        proposed_at=proposal.proposed_at,
        expires_at=proposal.expires_at,
        decided_by=proposal.decided_by,
        decided_at=proposal.decided_at,
        note=proposal.note,
        outcome=proposal.outcome,
    )
