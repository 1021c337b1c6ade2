"""Lists what changed an account's balance: every entry that moved its credit or its debt, with what caused it.

An entry counts in the month that it belongs to: a call of November that is booked on the first of December moves the
balance in the last microsecond of November. So opening plus movements is closing, of any span of time, and a month's
movements by usage are its usage, to the nano. All pages of a list are of the instant of its first page: the cursor has
that snapshot, and an entry that commits later is in none of them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.shares import GrantShare
from store.ids import AccountId, EntryId, GrantId

# When an entry ``e`` counts: when it was booked, within the month that it belongs to.
COUNTS_AT = (
    "greatest(e.period::timestamp AT TIME ZONE 'UTC', least(e.booked_at,"
    " (e.period + interval '1 month') AT TIME ZONE 'UTC' - interval '1 microsecond'))"
)
# What moves a balance.
BALANCE_KINDS = "('customer_credit', 'customer_overdraft')"
# How far the clocks of two machines are ever apart: entries are found by when they were booked.
CLOCKS_APART = timedelta(hours=1)

_MOVED = f"""
    FROM entries e JOIN postings p ON p.entry_id = e.id
    JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.account_id = e.account_id AND l.kind IN {BALANCE_KINDS}
    WHERE e.account_id = :account_id
"""
_SPAN_QUERY = f"""
    WITH moved AS (
        SELECT {COUNTS_AT} AS at, l.kind, p.amount_nano AS amount {_MOVED} AND e.booked_at >= :booked_from
    ), balances AS (
        SELECT l.kind, coalesce(l.posted_nano,
            (SELECT sum(p.amount_nano) FROM postings p WHERE p.ledger_account_id = l.id), 0) AS amount
        FROM ledger_accounts l WHERE l.account_id = :account_id AND l.kind IN {BALANCE_KINDS}
    )
    SELECT pg_current_snapshot()::text AS snapshot, k.kind,
        coalesce((SELECT amount FROM balances b WHERE b.kind = k.kind), 0)::bigint AS now,
        coalesce((SELECT sum(amount) FROM moved m WHERE m.kind = k.kind AND at >= :since), 0)::bigint AS since_opening,
        coalesce((SELECT sum(amount) FROM moved m WHERE m.kind = k.kind AND at >= :until), 0)::bigint AS since_closing
    FROM (VALUES ('customer_credit'), ('customer_overdraft')) AS k (kind)
"""  # noqa: S608 - constants
_SPAN = text(_SPAN_QUERY)
# Entries of their own month come by the index, in order; of others there are few, at the ends of months.
_MONTH_OF_BOOKING = "date_trunc('month', e.booked_at AT TIME ZONE 'UTC')"
_CANDIDATES = f"""
    SELECT e.*, {COUNTS_AT} AS at FROM entries e
    WHERE e.account_id = :account_id AND e.booked_at >= :booked_from AND {{condition}}
        AND ({COUNTS_AT}, e.id) > (:after_at, :after_id) AND {COUNTS_AT} < :until
        AND (e.xact IS NULL OR pg_visible_in_snapshot(e.xact, CAST(CAST(:snapshot AS text) AS pg_snapshot)))
        AND EXISTS (SELECT FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id
            WHERE p.entry_id = e.id AND l.account_id = e.account_id AND l.kind IN {BALANCE_KINDS})
    ORDER BY {{order}}, e.id LIMIT :limit
"""  # noqa: S608 - constants
_USUAL = _CANDIDATES.format(
    condition=f"e.booked_at < :until AND (e.period IS NULL OR e.period = {_MONTH_OF_BOOKING})", order="e.booked_at"
)
_LATE = _CANDIDATES.format(condition=f"e.period <> {_MONTH_OF_BOOKING}", order=COUNTS_AT)
_COLUMNS = """
    SELECT e.id, e.at, e.booked_at, e.kind, e.source_ref, e.note, m.balance, m.debt, u.grants
    FROM ({entries}) e CROSS JOIN LATERAL (
        SELECT coalesce(sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_credit'), 0)::bigint AS balance,
            coalesce(-sum(p.amount_nano) FILTER (WHERE l.kind = 'customer_overdraft'), 0)::bigint AS debt
        FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id
        WHERE p.entry_id = e.id AND l.account_id = e.account_id
    ) m CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_array(g.id, g.kind, u.amount_nano) ORDER BY
            array_position(ARRAY['promotional', 'goodwill', 'purchased'], g.kind), g.expires_at NULLS LAST,
            g.granted_at, g.id)::text AS grants
        FROM grant_uses u JOIN grants g ON g.id = u.grant_id WHERE u.entry_id = e.id
    ) u
"""
_BOTH = f"SELECT * FROM (({_USUAL}) UNION ALL ({_LATE})) entries ORDER BY at, id LIMIT :limit"  # noqa: S608 - constants
_SINGLE = f"SELECT e.*, {COUNTS_AT} AS at FROM entries e WHERE e.id = :entry_id"  # noqa: S608 - constants
_PAGE = text(_COLUMNS.format(entries=_BOTH) + " ORDER BY e.at, e.id")
_ONE = text(_COLUMNS.format(entries=_SINGLE) + " WHERE e.account_id = :account_id AND (m.balance <> 0 OR m.debt <> 0)")
# The grant that an entry of kind `grant` gave: its source is the entry's.
_GIVEN = text("""
    SELECT e.id AS entry_id, g.id, g.kind, g.amount_nano FROM entries e
    JOIN grants g ON e.source_ref = 'grant:' || g.source_ref WHERE e.kind = 'grant' AND e.id = ANY(:entries)
""")


class Position(msgspec.Struct, frozen=True):
    """Where a list of movements stands: behind the entry ``entry`` at ``at``, after which there are these balances."""

    at: datetime
    entry: UUID
    balance: int
    debt: int


class Span(msgspec.Struct, frozen=True):
    """The movements over ``[since, until)`` as they were at one instant, and the balances at both ends."""

    since: datetime
    until: datetime
    snapshot: str
    opening_balance: NanoUSD
    opening_debt: NanoUSD
    closing_balance: NanoUSD
    closing_debt: NanoUSD

    @property
    def start(self) -> Position:
        """Before the first movement."""
        return Position(self.since, UUID(int=0), self.opening_balance, self.opening_debt)


class Movement(msgspec.Struct, frozen=True):
    """One entry that changed the balance or the debt: by how much, to what, and which grants paid or were given.

    ``balance`` and ``debt`` are None where the movement was read by itself, outside of a list.
    """

    entry: EntryId
    at: datetime
    booked_at: datetime
    kind: str
    source_ref: str
    note: str
    balance_change: NanoUSD
    debt_change: NanoUSD
    balance: NanoUSD | None
    debt: NanoUSD | None
    paid_by: tuple[GrantShare, ...]
    given: GrantShare | None

    @property
    def position(self) -> Position:
        """Behind this movement, in a list."""
        assert self.balance is not None, "a movement by itself has no place in a list; this is a bug"
        assert self.debt is not None, "a movement by itself has no place in a list; this is a bug"
        return Position(self.at, self.entry, self.balance, self.debt)


async def read_span(tx: AsyncConnection, account_id: AccountId, since: datetime, until: datetime) -> Span:
    """The account's opening and closing of ``[since, until)``, in one statement and so of one instant."""
    facts = {"account_id": account_id, "since": since, "until": until, "booked_from": since - CLOCKS_APART}
    rows = {row.kind: row for row in await tx.execute(_SPAN, facts)}
    credit, overdraft = rows["customer_credit"], rows["customer_overdraft"]
    return Span(
        since,
        until,
        credit.snapshot,
        opening_balance=NanoUSD(credit.now - credit.since_opening),
        opening_debt=NanoUSD(overdraft.since_opening - overdraft.now),
        closing_balance=NanoUSD(credit.now - credit.since_closing),
        closing_debt=NanoUSD(overdraft.since_closing - overdraft.now),
    )


async def list_movements(
    tx: AsyncConnection, account_id: AccountId, span: Span, after: Position, limit: int
) -> list[Movement]:
    """At most ``limit`` movements of a span behind a position, the oldest first."""
    facts = {
        "account_id": account_id,
        "snapshot": span.snapshot,
        "booked_from": after.at - CLOCKS_APART,
        "after_at": after.at,
        "after_id": after.entry,
        "until": span.until,
        "limit": limit,
    }
    rows = (await tx.execute(_PAGE, facts)).all()
    given = await _given(tx, [row.id for row in rows if row.kind == "grant"])
    movements: list[Movement] = []
    balance, debt = after.balance, after.debt
    for row in rows:
        balance, debt = balance + row.balance, debt + row.debt
        movements.append(_movement(row, given.get(row.id), NanoUSD(balance), NanoUSD(debt)))
    return movements


async def find_movement(tx: AsyncConnection, account_id: AccountId, entry_id: EntryId) -> Movement | None:
    """One movement of the account by its entry; None where the entry is another's, or moved no balance."""
    row = (await tx.execute(_ONE, {"account_id": account_id, "entry_id": entry_id})).one_or_none()
    return None if row is None else _movement(row, (await _given(tx, [row.id])).get(row.id), None, None)


async def _given(tx: AsyncConnection, entries: Sequence[UUID]) -> dict[UUID, GrantShare]:
    if not entries:
        return {}
    rows = await tx.execute(_GIVEN, {"entries": list(entries)})
    return {row.entry_id: GrantShare(GrantId(row.id), row.kind, row.amount_nano) for row in rows}


def _movement(row: Row[Any], given: GrantShare | None, balance: NanoUSD | None, debt: NanoUSD | None) -> Movement:
    facts = row._mapping
    shares = msgspec.json.decode(facts["grants"] or "[]", type=list[tuple[UUID, str, int]])
    return Movement(
        entry=EntryId(facts["id"]),
        at=facts["at"],
        booked_at=facts["booked_at"],
        kind=facts["kind"],
        source_ref=facts["source_ref"],
        note=facts["note"],
        balance_change=NanoUSD(facts["balance"]),
        debt_change=NanoUSD(facts["debt"]),
        balance=balance,
        debt=debt,
        paid_by=tuple(GrantShare(GrantId(grant), kind, NanoUSD(amount)) for grant, kind, amount in shares),
        given=given,
    )
