"""Says what stands in the way of closing an account and what becomes of its credit, and keeps how far a closing is.

A closing is a row: the operation that writes it ends keys and orders refunds in the same transaction; the jobs process
waits for those refunds and for calls in flight, takes what is left of the credit, and marks it. Ledger, usage and
documents stay.
"""

from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.admission import Admission
from billing.chart import LedgerKind
from billing.contracts.minimums import list_uncharged
from billing.debt import lock_credit, read_debt
from billing.generation import Generation
from billing.ledger import Posting, post
from billing.lines import read_exposure
from billing.money import MAX_AMOUNT, NanoUSD, to_usd
from billing.projection import Projection
from billing.take_back import Reason, TakeBack, take_back
from store.ids import AccountId
from store.postgres import Database

# What is neither paid back nor forfeited yet: less than a cent is not worth a question.
CENT = NanoUSD(10_000_000)

_CREDIT = text("""
    SELECT coalesce(sum(remaining_nano) FILTER (WHERE kind = 'purchased'), 0)::bigint AS purchased,
        coalesce(sum(remaining_nano) FILTER (WHERE kind IN ('promotional', 'goodwill')), 0)::bigint AS given
    FROM grants WHERE account_id = :account
""")
# What is under way or unpaid -> its sentence.
_OPEN = text("""
    SELECT 'invoice ' || r.source_ref || ' is not paid' AS what FROM receivables r WHERE r.account_id = :account
        AND r.total_nano >
            (SELECT coalesce(sum(p.amount_nano), 0) FROM receivable_payments p WHERE p.receivable_id = r.id)
    UNION ALL SELECT 'more was paid of invoice ' || r.source_ref || ' than it demands: pay it back, then'
            || ' `receivables pay-back`' FROM receivables r WHERE r.account_id = :account
        AND r.total_nano <
            (SELECT coalesce(sum(p.amount_nano), 0) FROM receivable_payments p WHERE p.receivable_id = r.id)
    UNION ALL SELECT 'contract_' || replace(c.id::text, '-', '') || ' promises a minimum or a commitment: end it first'
        FROM contracts c WHERE c.account_id = :account AND (c.minimum_nano IS NOT NULL OR c.commitment_nano IS NOT NULL)
            AND coalesce(c.until, 'infinity') > now()
            AND NOT EXISTS (SELECT FROM contract_ends e WHERE e.contract_id = c.id AND e.until <= now())
    UNION ALL SELECT 'a payment is under way: top-up ' || 'topup_' || replace(id::text, '-', '') FROM topups
        WHERE account_id = :account AND status IN ('processing', 'review')
    UNION ALL SELECT 'a page to pay on is open, which ends within a day: top-up topup_' || replace(id::text, '-', '')
        FROM topups WHERE account_id = :account AND status IN ('new', 'open')
    UNION ALL SELECT 'a payment is disputed: ' || id FROM disputes WHERE account_id = :account AND status = 'open'
    UNION ALL SELECT 'a document waits to be issued' FROM document_requests
        WHERE account_id = :account AND state = 'waiting' GROUP BY account_id
    ORDER BY 1
""")
_INSERT = text("""
    INSERT INTO account_closings (account_id, refunds_credit, reason, requested_by)
    VALUES (:account, :refunds, :reason, :by)
""")
_COLUMNS = "account_id, state, refunds_credit, reason, requested_by, requested_at, waits_for, closed_at"
_FIND = text(f"SELECT {_COLUMNS} FROM account_closings WHERE account_id = :account")  # noqa: S608 - constants
_CLOSING = text(f"SELECT {_COLUMNS} FROM account_closings WHERE state = 'closing' ORDER BY 1")  # noqa: S608 - constants
_WAITS = text("UPDATE account_closings SET waits_for = :what WHERE account_id = :account AND state = 'closing'")
_CLOSED = text("""
    UPDATE account_closings SET state = 'closed', waits_for = '', closed_at = now()
    WHERE account_id = :account AND state = 'closing' RETURNING account_id
""")
_WAITS_FOR = text("""
    SELECT what FROM (
        SELECT 1 AS place, 'refunds that are on their way' AS what FROM refunds
            WHERE account_id = :account AND status IN ('requested', 'taken', 'sent')
        UNION ALL SELECT 2, 'a person who looks at a refund that failed: reviews resolve' FROM payment_reviews
            WHERE account_id = :account AND cause = 'refund_failed' AND resolved_at IS NULL
        UNION ALL SELECT 3, 'documents that are being issued' FROM document_requests
            WHERE account_id = :account AND state = 'waiting'
        UNION ALL SELECT 4, 'the credit line, which is taken back first' FROM grants
            WHERE account_id = :account AND kind = 'line' AND remaining_nano > 0
    ) waits ORDER BY place LIMIT 1
""")


class Closing(msgspec.Struct, frozen=True):
    """How far the closing of an account is; ``waits_for`` is empty where nothing has to end first."""

    account_id: AccountId
    state: str
    refunds_credit: bool
    reason: str
    requested_by: str
    requested_at: datetime
    waits_for: str
    closed_at: datetime | None


class Leftover(msgspec.Struct, frozen=True):
    """What an account has and owes: credit that was paid for, given credit, debt."""

    purchased: NanoUSD
    given: NanoUSD
    debt: NanoUSD


async def read_leftover(tx: AsyncConnection, account_id: AccountId) -> Leftover:
    """What an account has and owes now."""
    row = (await tx.execute(_CREDIT, {"account": account_id})).one()
    return Leftover(NanoUSD(row.purchased), NanoUSD(row.given), await read_debt(tx, account_id))


async def read_obstacles(tx: AsyncConnection, account_id: AccountId, held: NanoUSD, now: datetime) -> list[str]:
    """Why an account cannot be closed now, a sentence each; ``held`` is what calls in flight hold of its credit."""
    found = [f"calls in flight hold {to_usd(held)} USD: stop them, or wait until they end"] if held else []
    found += (await tx.execute(_OPEN, {"account": account_id})).scalars().all()
    before = (now.astimezone(UTC).date().replace(day=1) - timedelta(days=1)).replace(day=1)
    if await list_uncharged(tx, before, account_id):
        found.append(f"what a contract's minimum adds to {before:%Y-%m} is not charged yet: wait an hour")
    exposure = await read_exposure(tx, account_id)
    if unbilled := exposure.drawn + exposure.unbilled:
        found.append(f"{to_usd(unbilled)} USD of the credit line were used and are on no invoice")
    return found


async def write_debt_off(tx: AsyncConnection, account_id: AccountId, note: str) -> NanoUSD:
    """Book that an account's debt will not be paid; returns how much that was."""
    await lock_credit(tx, account_id)
    debt = await read_debt(tx, account_id)
    if debt:
        legs = [
            Posting(LedgerKind.CUSTOMER_OVERDRAFT, debt, account_id),
            Posting(LedgerKind.WRITE_OFF, NanoUSD(-debt)),
        ]
        await post(tx, "write_off", f"write_off:closing:{account_id.hex}", legs, account_id=account_id, note=note)
    return debt


async def start_closing(tx: AsyncConnection, account_id: AccountId, *, refunds: bool, reason: str, by: str) -> Closing:
    """Write the row that jobs act on. Raises the database's ``IntegrityError`` where there is one."""
    await tx.execute(_INSERT, {"account": account_id, "refunds": refunds, "reason": reason, "by": by})
    found = await find_closing(tx, account_id)
    assert found is not None, "it was written a moment ago; this is a bug"
    return found


async def find_closing(tx: AsyncConnection, account_id: AccountId) -> Closing | None:
    """How far the closing of an account is; None where nobody closes it."""
    row = (await tx.execute(_FIND, {"account": account_id})).one_or_none()
    return None if row is None else Closing(*row)


async def list_closing(tx: AsyncConnection) -> list[Closing]:
    """The closings that are not over."""
    return [Closing(*row) for row in await tx.execute(_CLOSING)]


async def take_leftover(
    db: Database, admission: Admission, projection: Projection, generation: Generation, closing: Closing
) -> bool:
    """Take what is left of an account's credit once its refunds are over; whether nothing is left to wait for."""
    account = {"account": closing.account_id}
    async with db.transaction() as tx:
        waits_for = str(await tx.scalar(_WAITS_FOR, account) or "")
    if not waits_for:
        wanted = TakeBack(
            account_id=closing.account_id,
            reason=Reason.EXPIRY,
            source=f"closing:{closing.account_id.hex}",
            amount=MAX_AMOUNT,
        )
        taken = await take_back(db, admission, projection, generation, wanted, wait_s=1.0)
        waits_for = "calls in flight, which hold the rest of the credit" if taken.waiting else ""
    if waits_for != closing.waits_for:
        async with db.transaction() as tx:
            await tx.execute(_WAITS, {**account, "what": waits_for})
    return not waits_for


async def mark_closed(tx: AsyncConnection, account_id: AccountId) -> bool:
    """Mark a closing as over; False where another process did."""
    return await tx.scalar(_CLOSED, {"account": account_id}) is not None
