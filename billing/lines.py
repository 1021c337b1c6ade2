"""Lends credit: a line is grants of kind ``line`` up to a limit, drawn last and behind the same gate as all credit.

The limit bounds what is drawn and not paid. Opening or raising a line, and a payment, grant what is missing in the
same transaction; what is too much after a lowered limit or an overdue invoice is taken back by the jobs process
(:func:`fit_lines`), as calls in flight leave it free. What was drawn becomes receivable in
:mod:`billing.receivables`.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.admission import Admission
from billing.credits import GrantKind, grant
from billing.debt import lock_credit
from billing.generation import Generation
from billing.money import NanoUSD
from billing.overdue import Exposure, lendable, misfit
from billing.projection import Projection
from billing.take_back import Reason, TakeBack, take_back
from store.ids import AccountId, new_id
from store.postgres import Database

TERMS_DAYS = 30

_LINES = """
    SELECT l.account_id, l.limit_nano, l.terms_days, l.opened_at, l.ended_at, l.fitted_nano,
        coalesce((CAST(:today AS date) - (
            SELECT min(r.due_on) FROM receivables r WHERE r.account_id = l.account_id AND r.total_nano >
                (SELECT coalesce(sum(p.amount_nano), 0) FROM receivable_payments p WHERE p.receivable_id = r.id)
        )), 0) AS days_overdue
    FROM credit_lines l
"""
_ALL = text(f"{_LINES} ORDER BY l.account_id")
_ONE = text(f"{_LINES} WHERE l.account_id = :account_id")
_SET = text("""
    INSERT INTO credit_lines AS l (account_id, limit_nano, terms_days) VALUES (:account_id, :limit, :terms_days)
    ON CONFLICT (account_id) DO UPDATE SET limit_nano = EXCLUDED.limit_nano, terms_days = EXCLUDED.terms_days,
        opened_at = CASE WHEN l.ended_at IS NULL THEN l.opened_at ELSE now() END, ended_at = NULL, fitted_nano = NULL
""")
_FITTED = text("UPDATE credit_lines SET fitted_nano = :limit WHERE account_id = :account_id")
_END = text(
    "UPDATE credit_lines SET limit_nano = 0, ended_at = now(), fitted_nano = NULL WHERE account_id = :account_id"
)
# Each sum reads the account's rows that are no usage, however many calls it made.
_EXPOSURE = """
    WITH lent AS (
        SELECT coalesce(sum(amount_nano), 0) AS amount, coalesce(sum(remaining_nano), 0) AS remaining
        FROM grants WHERE account_id = {account} AND kind = 'line'
    ), taken AS (
        SELECT coalesce(sum(u.amount_nano), 0) AS amount FROM entries e JOIN grant_uses u ON u.entry_id = e.id
        WHERE e.account_id = {account} AND e.kind = 'line'
    ), moved AS (
        SELECT coalesce(-sum(p.amount_nano), 0) AS amount FROM entries e JOIN postings p ON p.entry_id = e.id
        JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.kind = 'customer_unbilled'
        WHERE e.account_id = {account} AND e.kind = 'unbilled'
    ), billed AS (
        -- A credit note takes an invoice back: what it was for is on no invoice again.
        SELECT coalesce(sum(drawn_nano), 0) AS amount FROM receivables WHERE account_id = {account}
            AND NOT EXISTS (SELECT FROM documents d JOIN documents c ON c.corrects = d.id AND NOT c.partial
                WHERE d.name = source_ref)
    ), freed AS (
        SELECT coalesce(sum(p.freed_nano), 0) AS amount FROM receivable_payments p
        JOIN receivables r ON r.id = p.receivable_id WHERE r.account_id = {account}
    )
    SELECT lent.remaining::bigint AS available,
        (lent.amount - lent.remaining - taken.amount - moved.amount)::bigint AS drawn,
        (moved.amount - billed.amount)::bigint AS unbilled, (billed.amount - freed.amount)::bigint AS billed
    FROM lent, taken, moved, billed, freed
"""
_EXPOSURE_OF_ONE = text(_EXPOSURE.format(account=":account_id"))
_EXPOSURE_OF_MANY = text(
    "SELECT a.id AS account_id, x.* FROM unnest(CAST(:accounts AS uuid[])) AS a (id)"  # noqa: S608 - constants
    f" CROSS JOIN LATERAL ({_EXPOSURE.format(account='a.id')}) x"
)


class Line(msgspec.Struct, frozen=True):
    """An account's line as it was agreed, and for how many days its oldest unpaid invoice has been overdue.

    ``fitted`` is the limit that its grants follow, once they do.
    """

    account_id: AccountId
    limit: NanoUSD
    terms_days: int
    opened_at: datetime
    ended_at: datetime | None
    fitted: NanoUSD | None
    days_overdue: int

    @property
    def lendable(self) -> NanoUSD:
        """The limit that holds now."""
        return lendable(self.limit, self.days_overdue)


async def list_lines(tx: AsyncConnection, now: datetime) -> list[Line]:
    """All lines, also those that ended."""
    return [Line(*row) for row in await tx.execute(_ALL, {"today": now.date()})]


async def get_line(tx: AsyncConnection, account_id: AccountId, now: datetime) -> Line | None:
    """An account's line; None where it never had one."""
    row = (await tx.execute(_ONE, {"account_id": account_id, "today": now.date()})).one_or_none()
    return None if row is None else Line(*row)


async def read_exposure(tx: AsyncConnection, account_id: AccountId) -> Exposure:
    """What an account's line has lent."""
    row = (await tx.execute(_EXPOSURE_OF_ONE, {"account_id": account_id})).one()
    return Exposure(*(NanoUSD(int(amount)) for amount in row))


async def read_exposures(tx: AsyncConnection, account_ids: Sequence[AccountId]) -> dict[AccountId, Exposure]:
    """What the lines of many accounts have lent, by one statement."""
    rows = await tx.execute(_EXPOSURE_OF_MANY, {"accounts": list(account_ids)})
    return {AccountId(account): Exposure(*(NanoUSD(int(amount)) for amount in amounts)) for account, *amounts in rows}


async def set_line(
    tx: AsyncConnection, account_id: AccountId, limit: NanoUSD, now: datetime, *, terms_days: int = TERMS_DAYS
) -> None:
    """Open a line, or change it. More is lent at once; what is too much is taken back by the jobs process."""
    await lock_credit(tx, account_id)
    await tx.execute(_SET, {"account_id": account_id, "limit": limit, "terms_days": terms_days})
    await lend_missing(tx, account_id, now)


async def end_line(tx: AsyncConnection, account_id: AccountId) -> None:
    """Lend nothing any more. What was drawn stays owed."""
    await tx.execute(_END, {"account_id": account_id})


async def unfit_line(tx: AsyncConnection, account_id: AccountId) -> None:
    """Have jobs look whether more is lent than the line may lend."""
    await tx.execute(_FITTED, {"account_id": account_id, "limit": None})


async def lend_missing(tx: AsyncConnection, account_id: AccountId, now: datetime) -> NanoUSD:
    """Grant what the line may lend and does not yet; returns how much. Locks the account's credit."""
    await lock_credit(tx, account_id)
    line = await get_line(tx, account_id, now)
    if line is None:
        return NanoUSD(0)
    missing = NanoUSD(max(0, misfit(line.lendable, await read_exposure(tx, account_id))))
    if missing:
        await grant(tx, account_id, missing, GrantKind.LINE, source_ref=f"line:{new_id().hex}")
        await tx.execute(_FITTED, {"account_id": account_id, "limit": None})
    return missing


async def fit_lines(
    db: Database,
    admission: Admission,
    projection: Projection,
    generation: Generation,
    now: datetime,
    *,
    wait_s: float = 1.0,
) -> int:
    """Make the grants of lines whose limit changed follow it; returns how many lines do now.

    What calls in flight hold is taken at the next turn. Two processes that do it at once may take too much, which both
    look for and grant again.
    """
    async with db.transaction() as tx:
        changed = [line for line in await list_lines(tx, now) if line.fitted != line.lendable]
    fitted = 0
    for line in changed:
        async with db.transaction() as tx:
            excess = -misfit(line.lendable, await read_exposure(tx, line.account_id))
        if excess > 0:
            wanted = TakeBack(
                account_id=line.account_id, reason=Reason.LINE, source=f"line:{new_id().hex}", amount=NanoUSD(excess)
            )
            await take_back(db, admission, projection, generation, wanted, wait_s=wait_s)
        async with db.transaction() as tx:
            await lend_missing(tx, line.account_id, now)
            if misfit(line.lendable, await read_exposure(tx, line.account_id)) == 0:
                await tx.execute(_FITTED, {"account_id": line.account_id, "limit": line.lendable})
                fitted += 1
    return fitted
