"""The double-entry ledger: posts balanced entries, never edits one; every balance is a sum.

The SQL of the group commit (``charge_calls``) posts usage entries; everything else goes through :func:`post`.
"""

from collections.abc import Sequence
from datetime import date

import msgspec
from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import HOUSE, RUNNING, LedgerKind
from billing.money import MAX_AMOUNT, NanoUSD
from billing.tables import EntryRow, LedgerAccountRow, PostingRow
from store.ids import AccountId, EntryId, LedgerAccountId, new_id

_OPEN = text(
    "INSERT INTO ledger_accounts (id, kind, account_id, detail)"
    " VALUES (:id, :kind, CAST(:account_id AS uuid), :detail) ON CONFLICT DO NOTHING"
)
_FIND = text(
    "SELECT id FROM ledger_accounts WHERE kind = :kind AND detail = :detail"
    " AND account_id IS NOT DISTINCT FROM CAST(:account_id AS uuid)"
)


class Posting(msgspec.Struct, frozen=True):
    """One leg of an entry: positive is a credit, negative a debit.

    ``account_id`` is for customers' ledger accounts, ``detail`` for those of the house that have one. A leg of 0 is not
    booked.
    """

    kind: LedgerKind
    amount: NanoUSD
    account_id: AccountId | None = None
    detail: str = ""


_BOOKED_HERE = text("""
    SELECT dense_rank() OVER (ORDER BY e.id) AS entry, e.kind, e.source_ref, e.period, l.kind, l.detail, l.account_id,
        p.amount_nano
    FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
    WHERE e.xact = pg_current_xact_id_if_assigned() ORDER BY e.id, p.leg
""")
_DRIFTED = text("""
    WITH posted AS MATERIALIZED (
        SELECT ledger_account_id AS id, sum(amount_nano) AS amount FROM postings GROUP BY 1
    ), granted AS MATERIALIZED (
        SELECT account_id, sum(remaining_nano) AS amount FROM grants WHERE remaining_nano > 0 GROUP BY 1
    )
    SELECT DISTINCT l.account_id FROM ledger_accounts l
    LEFT JOIN posted p ON p.id = l.id LEFT JOIN granted g ON g.account_id = l.account_id
    WHERE l.posted_nano IS NOT NULL AND (l.posted_nano <> coalesce(p.amount, 0)
        OR (l.kind = 'customer_credit' AND l.posted_nano <> coalesce(g.amount, 0)))
    ORDER BY 1
""")


class CreditTooLarge(ValueError):
    """A balance beyond what Redis computes exactly: 9,000,000 USD."""


class LedgerBalance(msgspec.Struct, frozen=True):
    """One line of the trial balance."""

    kind: str
    amount: NanoUSD
    postings: int


async def post(
    tx: AsyncConnection,
    kind: str,
    source_ref: str,
    legs: Sequence[Posting],
    *,
    account_id: AccountId | None = None,
    note: str = "",
    period: date | None = None,
) -> EntryId:
    """Book one entry. The legs must sum to zero; ``source_ref`` is unique, so one fact is booked once.

    It belongs to the month that begins on ``period``, else to the month of its booking.

    Raises :class:`CreditTooLarge`, and the database's ``IntegrityError`` for a fact booked before or a credit that
    would fall below zero.
    """
    assert sum(leg.amount for leg in legs) == 0, "unbalanced entry; this is a bug"
    # Whoever lists an account's movements finds them by the account of the entry.
    customers = {leg.account_id for leg in legs if leg.account_id is not None}
    assert customers <= {account_id}, "an entry is of the account whose balance it moves; this is a bug"
    entry_id = EntryId(new_id())
    facts = {"id": entry_id, "kind": kind, "source_ref": source_ref, "account_id": account_id, "note": note}
    await tx.execute(insert(EntryRow).values(facts if period is None else {**facts, "period": period}))
    rows = []
    for number, leg in enumerate((leg for leg in legs if leg.amount), start=1):
        ledger_account_id, version = await _ledger_account(tx, leg)
        rows.append(
            {
                "entry_id": entry_id,
                "leg": number,
                "ledger_account_id": ledger_account_id,
                "amount_nano": leg.amount,
                "version": version,
            }
        )
    await tx.execute(insert(PostingRow), rows)
    return entry_id


async def _ledger_account(tx: AsyncConnection, leg: Posting) -> tuple[LedgerAccountId, int | None]:
    """The leg's ledger account; a running balance is moved and gets its next version."""
    if leg.kind not in RUNNING:
        return await _find_or_open(tx, leg), None
    if leg.kind is LedgerKind.CUSTOMER_OVERDRAFT:
        await tx.execute(text("SELECT count_debt(:account_id)"), {"account_id": leg.account_id})
    row = (
        await tx.execute(
            update(LedgerAccountRow)
            .where(LedgerAccountRow.account_id == leg.account_id, LedgerAccountRow.kind == leg.kind)
            .values(posted_nano=LedgerAccountRow.posted_nano + leg.amount, version=LedgerAccountRow.version + 1)
            .returning(LedgerAccountRow.id, LedgerAccountRow.version, LedgerAccountRow.posted_nano)
        )
    ).one()
    if row.posted_nano > MAX_AMOUNT:
        raise CreditTooLarge("an account can hold at most 9,000,000 USD of credit")
    return LedgerAccountId(row.id), row.version


async def _find_or_open(tx: AsyncConnection, leg: Posting) -> LedgerAccountId:
    """A ledger account without a running balance, opened where it is the first with its detail or of its customer."""
    if leg.account_id is None and not leg.detail and leg.kind in HOUSE:
        return HOUSE[leg.kind]
    facts = {"kind": leg.kind, "account_id": leg.account_id, "detail": leg.detail}
    await tx.execute(_OPEN, {"id": new_id(), **facts})
    return LedgerAccountId((await tx.execute(_FIND, facts)).scalar_one())


class BookedLeg(msgspec.Struct, frozen=True):
    """One leg of an entry that a transaction has booked; ``entry`` counts the entries from 1, in their order."""

    entry: int
    kind: str
    source_ref: str
    period: date
    ledger_account: str
    detail: str
    account_id: AccountId | None
    amount: NanoUSD


async def booked_here(tx: AsyncConnection) -> list[BookedLeg]:
    """The legs of all entries that this transaction has booked so far."""
    return [BookedLeg(*row) for row in await tx.execute(_BOOKED_HERE)]


async def trial_balance(tx: AsyncConnection) -> list[LedgerBalance]:
    """Sum the postings by kind of ledger account; the sums add up to zero, always."""
    rows = await tx.execute(
        text(
            "SELECT l.kind, coalesce(sum(p.amount_nano), 0)::bigint AS amount, count(p.entry_id) AS postings"
            " FROM ledger_accounts l LEFT JOIN postings p ON p.ledger_account_id = l.id GROUP BY l.kind ORDER BY l.kind"
        )
    )
    return [LedgerBalance(r.kind, NanoUSD(r.amount), r.postings) for r in rows]


async def unbalanced_entries(tx: AsyncConnection) -> int:
    """How many entries do not sum to zero: none, unless the database's own check was circumvented."""
    statement = "SELECT count(*) FROM (SELECT entry_id FROM postings GROUP BY entry_id HAVING sum(amount_nano) <> 0) x"
    return int((await tx.execute(text(statement))).scalar_one())


async def drifted_credits(tx: AsyncConnection) -> list[AccountId]:
    """The accounts whose running credit or debt differs from its postings, or whose credit from the rest of its grants.

    One pass over the postings and one over the grants that are not used up, however many accounts there are.
    """
    rows = await tx.execute(_DRIFTED)
    return [AccountId(r.account_id) for r in rows]
