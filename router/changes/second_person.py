"""Keeps proposals: operations above a limit, which one operator proposes and another one approves or rejects.

A proposal has the operation, its body and what a dry run of it changed. Approving runs the same function with the same
body (:mod:`router.api.admin.approval`), in the transaction that marks the proposal, so that two approvals have one
effect. What one operator does alone for an account within a day counts together, so that a sum is not split in two.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from router.changes.amounts import in_usd
from router.changes.audit import Actor, Change
from router.changes.transaction import UnitOfWork
from router.tables import Json
from store.ids import AccountId, ProposalId, new_id

# How long a proposal can be decided.
OPEN_FOR = timedelta(days=7)
OFF = NanoUSD(0)


class MoneyKind(StrEnum):
    """What is done with money above a limit."""

    REFUND = "refund"
    GRANT = "grant"
    WRITE_OFF = "write_off"
    LINE = "line"


# The audited actions whose amounts count together; what a line lends is a level and no sum.
_ACTIONS = {
    MoneyKind.REFUND: ("refund.create", "receivable.pay_back"),
    MoneyKind.GRANT: ("credit.grant", "grant_schedule.create", "contract.fund"),
    MoneyKind.WRITE_OFF: ("receivable.write_off", "document.request", "account.close", "correction.book"),
}


class SecondPersonLimits(msgspec.Struct, frozen=True):
    """Up to which amount one operator does it alone; 0: any amount."""

    refund: NanoUSD = OFF
    grant: NanoUSD = OFF
    write_off: NanoUSD = OFF
    line: NanoUSD = OFF

    def of(self, kind: MoneyKind) -> NanoUSD:
        """The limit of a kind."""
        limit: NanoUSD = getattr(self, kind.value)
        return limit


class Above(msgspec.Struct, frozen=True):
    """That an operation is above its limit, and by which amount."""

    kind: MoneyKind
    account_id: AccountId | None
    amount: NanoUSD
    limit: NanoUSD


class ProposalState(StrEnum):
    """The life of a proposal; one that expired is open and can be decided no more."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that waits for a second person, or what became of it."""

    id: ProposalId
    operation: str
    path_values: dict[str, str]
    body: bytes
    if_match: str | None
    kind: MoneyKind
    account_id: AccountId | None
    amount_nano: int
    limit_nano: int
    answer: Any
    changes: list[Json]
    proposed_by: Actor
    proposed_at: datetime
    expires_at: datetime
    state: ProposalState
    decided_by: Actor | None
    decided_at: datetime | None
    note: str
    outcome: Any


_COLUMNS = ", ".join(Proposal.__struct_fields__)
_INSERT = text("""
    INSERT INTO proposals (id, operation, path_values, body, body_hash, if_match, kind, account_id, amount_nano,
        limit_nano, answer, changes, proposed_by, expires_at)
    VALUES (:id, :operation, CAST(:path_values AS jsonb), :body, :hash, :if_match, :kind, :account, :amount, :limit,
        CAST(:answer AS jsonb), CAST(:changes AS jsonb), :by, :expires_at)
""")
_FIND = text(f"SELECT {_COLUMNS} FROM proposals WHERE id = :id")  # noqa: S608 - constants
_LOCK = text(f"SELECT {_COLUMNS} FROM proposals WHERE id = :id FOR UPDATE")  # noqa: S608 - constants
_LIST = text(
    f"SELECT {_COLUMNS} FROM proposals WHERE (CAST(:before AS uuid) IS NULL OR id < :before)"  # noqa: S608 - constants
    " AND (NOT CAST(:open AS boolean) OR (state = 'open' AND expires_at > :now)) ORDER BY id DESC LIMIT :most"
)
_DECIDE = text("""
    UPDATE proposals SET state = :state, decided_by = :by, decided_at = :now, note = :note,
        outcome = CAST(:outcome AS jsonb) WHERE id = :id
""")
_OWN_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('gigarouter alone ' || :actor || :account, 0))")
_OWN_SUM = """
    SELECT coalesce(sum(amount), 0)::bigint FROM (
        SELECT (coalesce(after ->> 'whole_usd', after ->> 'amount_usd', after ->> 'wanted_usd')::numeric
            * 1000000000)::bigint AS amount
        FROM audit WHERE {of} AND actor = :actor AND action = ANY(:actions) AND at > :since
    ) alone WHERE amount <= :limit
"""


async def measure(
    work: UnitOfWork, limits: SecondPersonLimits, kind: MoneyKind, account_id: AccountId | None, amount: NanoUSD
) -> Above | None:
    """Whether an amount, with what its operator did alone for the account within a day, is above the limit.

    ``account_id`` None: of no account, as entries between the house's own.
    """
    limit, total = limits.of(kind), amount
    if not limit:
        return None
    if kind in _ACTIONS and amount <= limit:
        who = {"actor": work.actor, "account": "" if account_id is None else account_id.hex}
        await work.connection.execute(_OWN_LOCK, who)
        since = {"since": work.now - timedelta(days=1), "actions": list(_ACTIONS[kind]), "limit": limit}
        which: dict[str, object] = {**since, "actor": work.actor}
        if account_id is not None:
            which["account"] = account_id
        statement = _OWN_SUM.format(of="account_id IS NULL" if account_id is None else "account_id = :account")
        total = NanoUSD(amount + int(await work.connection.scalar(text(statement), which) or 0))
    return Above(kind, account_id, total, limit) if total > limit else None


async def propose(
    work: UnitOfWork,
    above: Above,
    *,
    operation: str,
    path_values: dict[str, str],
    body: bytes,
    if_match: str | None,
    answer: bytes,
    changes: list[Json],
) -> Proposal:
    """Store a proposal of this operator's, with what a dry run answered (JSON) and would have changed."""
    proposal_id = ProposalId(new_id())
    row = {
        "id": proposal_id,
        "operation": operation,
        "path_values": msgspec.json.encode(path_values).decode(),
        "body": body,
        "hash": sha256(body).digest(),
        "if_match": if_match,
        "kind": above.kind.value,
        "account": above.account_id,
        "amount": above.amount,
        "limit": above.limit,
        "answer": answer.decode(),
        "changes": msgspec.json.encode(changes).decode(),
        "by": work.actor,
        "expires_at": work.now + OPEN_FOR,
    }
    await work.connection.execute(_INSERT, row)
    found = await find_proposal(work.connection, proposal_id)
    assert found is not None, "it was written a moment ago; this is a bug"
    return found


async def find_proposal(tx: AsyncConnection, proposal_id: ProposalId, *, locked: bool = False) -> Proposal | None:
    """The proposal of an id; ``locked``, for whoever decides it."""
    row = (await tx.execute(_LOCK if locked else _FIND, {"id": proposal_id})).one_or_none()
    return None if row is None else _proposal(row)


async def list_proposals(
    tx: AsyncConnection, now: datetime, *, only_open: bool, before: ProposalId | None, most: int
) -> list[Proposal]:
    """List proposals, the newest first; only those that can be decided, where ``only_open``."""
    which = {"before": before, "open": only_open, "now": now, "most": most}
    return [_proposal(row) for row in await tx.execute(_LIST, which)]


async def decide(
    work: UnitOfWork, proposal: Proposal, state: ProposalState, note: str, outcome: bytes | None = None
) -> Proposal:
    """Mark a proposal, whose row is locked, as this operator's decision; ``outcome`` is what was answered (JSON)."""
    decision = {"state": state.value, "by": work.actor, "now": work.now, "note": note}
    encoded = None if outcome is None else outcome.decode()
    await work.connection.execute(_DECIDE, {"id": proposal.id, "outcome": encoded, **decision})
    found = await find_proposal(work.connection, proposal.id)
    assert found is not None, "its row is locked; this is a bug"
    return found


def facts_of(changes: list[Change]) -> list[Json]:
    """What changes do, as JSON values to compare: without the ids of what is made."""
    facts = [{"action": one.action, "before": one.before, "after": one.after} for one in changes]
    found: list[Json] = in_usd(msgspec.json.decode(msgspec.json.encode(facts)))
    return found


def differences(proposed: list[Json], now: list[Json]) -> list[Json]:
    """How what would be done now differs from what was proposed, by field."""
    was, found = _fields(proposed), _fields(now)
    return [
        {"field": name, "proposed": was.get(name), "now": found.get(name)}
        for name in dict.fromkeys([*was, *found])
        if was.get(name) != found.get(name)
    ]


def _fields(changes: list[Json]) -> Json:
    return {
        f"{place}.{change['action']}.{side}.{name}": value
        for place, change in enumerate(changes)
        for side in ("before", "after")
        for name, value in (msgspec.convert(change[side], dict[str, Any] | None) or {}).items()
    }


def _proposal(row: Any) -> Proposal:  # noqa: ANN401 - a row of the driver's
    found = msgspec.convert(dict(row._mapping), Proposal)
    # One of an earlier release has amounts in nano-USD.
    return msgspec.structs.replace(found, changes=in_usd(found.changes))
