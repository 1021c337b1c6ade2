"""Turns what was drawn from credit lines into money that customers owe us: unbilled, then on an invoice, then paid.

Draws are moved by sealed batch: each entry is in one of them, so each draw is moved once, whoever does it and however
often, in the month of its calls. An invoice moves an amount from unbilled to receivable; a payment of it frees the line
in the same transaction.
"""

from datetime import date, datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.debt import lock_credit
from billing.ledger import Posting, post
from billing.lines import lend_missing, read_exposure, unfit_line
from billing.money import NanoUSD
from billing.overdue import reminders_due
from billing.periods import is_open
from store.ids import AccountId, EntryId, PaymentId, ReceivableId, new_id
from store.postgres import Database

# So many batches of draws are moved by one transaction.
BATCHES = 50
NO_TAX = NanoUSD(0)

_POSITION = text("SELECT batch, accrued_at FROM line_accrual FOR UPDATE")
_MOVE_ON = text("UPDATE line_accrual SET batch = :batch, accrued_at = :now")
_UP_TO = text("SELECT least(coalesce(max(number), 0), CAST(:batch AS bigint) + :batches) FROM sealed_batches")
_DRAWN = text("""
    WITH bounds AS (
        SELECT coalesce((SELECT last_xact FROM sealed_batches WHERE number = :after), '0') AS first_xact,
            coalesce((SELECT last_entry FROM sealed_batches WHERE number = :after),
                '00000000-0000-0000-0000-000000000000') AS first_entry,
            b.last_xact, b.last_entry
        FROM sealed_batches b WHERE b.number = :up_to
    )
    SELECT e.account_id, e.period, sum(u.amount_nano)::bigint AS amount
    FROM bounds b JOIN entries e ON (e.xact, e.id) > (b.first_xact, b.first_entry)
        AND (e.xact, e.id) <= (b.last_xact, b.last_entry)
    JOIN grant_uses u ON u.entry_id = e.id JOIN grants g ON g.id = u.grant_id
    WHERE g.kind = 'line' AND e.kind IN ('usage', 'grant', 'debt', 'minimum')
        AND e.account_id IN (SELECT account_id FROM grants WHERE kind = 'line')
    GROUP BY 1, 2 ORDER BY 1, 2
""")
_LIST = """
    SELECT r.id, r.account_id, r.source_ref, r.drawn_nano, r.total_nano, r.due_on, r.booked_at,
        coalesce((SELECT sum(p.amount_nano) FROM receivable_payments p WHERE p.receivable_id = r.id), 0)::bigint AS paid
    FROM receivables r
"""
_ALL = text(f"{_LIST} ORDER BY r.id")
_OVERDUE = text(f"{_LIST} WHERE r.due_on < CAST(:today AS date) ORDER BY r.id")
_ONE = text(f"{_LIST} WHERE r.id = :id")
_NAMED = text(f"{_LIST} WHERE r.source_ref = :source_ref")
_INSERT = text("""
    INSERT INTO receivables (id, account_id, source_ref, entry_id, drawn_nano, total_nano, due_on)
    VALUES (:id, :account_id, :source_ref, :entry, :drawn, :total, :due_on)
""")
_INSERT_PAYMENT = text("""
    INSERT INTO receivable_payments (id, receivable_id, source_ref, entry_id, amount_nano, freed_nano)
    VALUES (:id, :receivable, :source_ref, :entry, :amount, :freed)
""")
# What customers paid, without what was credited or written off; and what all of it freed.
_MOVED = text("""
    WITH moved AS (
        SELECT p.amount_nano, p.freed_nano, p.source_ref LIKE 'write_off:%' AS is_lost,
            EXISTS (SELECT FROM documents n WHERE n.name = p.source_ref AND n.kind = 'credit_note') AS is_credit
        FROM receivable_payments p WHERE p.receivable_id = :receivable
    )
    SELECT coalesce(sum(amount_nano) FILTER (WHERE NOT is_lost AND NOT is_credit), 0)::bigint AS paid,
        coalesce(sum(amount_nano) FILTER (WHERE is_lost), 0)::bigint AS written_off,
        coalesce(sum(freed_nano), 0)::bigint AS freed
    FROM moved
""")
_REMIND = text("""
    INSERT INTO receivable_reminders (receivable_id, step)
    SELECT :id, step FROM generate_series(1, :steps) step ON CONFLICT DO NOTHING RETURNING step
""")


class Receivable(msgspec.Struct, frozen=True):
    """What an invoice demands in ``total``, what of it was ``drawn`` from a line, and what was paid."""

    id: ReceivableId
    account_id: AccountId
    source_ref: str
    drawn: NanoUSD
    total: NanoUSD
    due_on: date
    booked_at: datetime
    paid: NanoUSD

    @property
    def open(self) -> NanoUSD:
        """What is still to be paid; less than nothing where it was paid and then credited."""
        return NanoUSD(self.total - self.paid)

    def frees(self, paid: int) -> int:
        """How much of the line is free once so much was paid: what is not of the line, such as tax, is paid first."""
        if paid >= self.total:
            return self.drawn
        return max(0, min(self.drawn, paid - max(0, self.total - self.drawn)))


class Reminder(msgspec.Struct, frozen=True):
    """The so many-th reminder of a receivable, which is due now."""

    receivable: Receivable
    step: int


class AmountRefused(ValueError):
    """An invoice of more than was drawn and is on none, or a payment of more than is open."""


async def accrue(db: Database, now: datetime) -> int:
    """Move what was drawn, as far as the ledger is sealed, to unbilled; returns how many entries that made."""
    booked = 0
    while True:
        async with db.transaction() as tx:
            after = int((await tx.execute(_POSITION)).one().batch)
            up_to = int(await tx.scalar(_UP_TO, {"batch": after, "batches": BATCHES}) or 0)
            if up_to <= after:
                await tx.execute(_MOVE_ON, {"batch": after, "now": now})
                return booked
            booked += await _move(tx, after, up_to)
            await tx.execute(_MOVE_ON, {"batch": up_to, "now": now})


async def is_due(tx: AsyncConnection, now: datetime) -> bool:
    """Whether nothing was moved yet on this UTC day."""
    return bool((await tx.execute(_POSITION)).one().accrued_at.date() < now.date())


async def _move(tx: AsyncConnection, after: int, up_to: int) -> int:
    drawn = list(await tx.execute(_DRAWN, {"after": after, "up_to": up_to}))
    for row in drawn:
        account_id, amount = AccountId(row.account_id), NanoUSD(row.amount)
        legs = [
            Posting(LedgerKind.CUSTOMER_UNBILLED, NanoUSD(-amount), account_id),
            Posting(LedgerKind.CREDIT_LINES, amount),
        ]
        source_ref = f"unbilled:{up_to}:{account_id.hex}:{row.period:%Y-%m}"
        # Draws of a month that was closed meanwhile become unbilled in the open one.
        period = row.period if await is_open(tx, row.period) else None
        await post(tx, "unbilled", source_ref, legs, account_id=account_id, period=period)
    return len(drawn)


async def bill(
    tx: AsyncConnection,
    account_id: AccountId,
    drawn: NanoUSD,
    *,
    source_ref: str,
    due_on: date,
    tax: NanoUSD = NO_TAX,
    jurisdiction: str = "",
) -> Receivable:
    """Move an amount from unbilled to receivable, with its tax, for the invoice ``source_ref``.

    Raises :class:`AmountRefused` for more than was drawn and is on no invoice, and the database's ``IntegrityError``
    for an invoice that was booked before.
    """
    await lock_credit(tx, account_id)
    total = NanoUSD(drawn + tax)
    legs = [
        Posting(LedgerKind.CUSTOMER_RECEIVABLE, NanoUSD(-total), account_id),
        Posting(LedgerKind.CUSTOMER_UNBILLED, drawn, account_id),
        Posting(LedgerKind.TAX_PAYABLE, tax, detail=jurisdiction),
    ]
    await _require_drawn(tx, account_id, drawn)
    entry = await post(tx, "invoice", f"invoice:{source_ref}", legs, account_id=account_id)
    return await record_receivable(
        tx, account_id, source_ref=source_ref, entry_id=entry, drawn=drawn, total=total, due_on=due_on
    )


async def record_receivable(
    tx: AsyncConnection,
    account_id: AccountId,
    *,
    source_ref: str,
    entry_id: EntryId,
    drawn: NanoUSD,
    total: NanoUSD,
    due_on: date,
) -> Receivable:
    """Record what an invoice demands whose entry was booked already, in the same transaction.

    The entry debits ``customer_receivable`` by ``total`` and credits ``customer_unbilled`` by ``drawn``; the rest is
    tax and rounding. Raises :class:`AmountRefused` for more than was drawn and is on no invoice.
    """
    await lock_credit(tx, account_id)
    await _require_drawn(tx, account_id, drawn)
    known = ReceivableId(new_id())
    facts = {"account_id": account_id, "source_ref": source_ref, "entry": entry_id, "drawn": drawn, "total": total}
    await tx.execute(_INSERT, {"id": known, "due_on": due_on, **facts})
    return await get_receivable(tx, known)


async def _require_drawn(tx: AsyncConnection, account_id: AccountId, drawn: NanoUSD) -> None:
    """What is on no invoice, whether the daily job has moved it or not."""
    exposure = await read_exposure(tx, account_id)
    if not 0 < drawn <= exposure.drawn + exposure.unbilled:
        raise AmountRefused(f"{exposure.drawn + exposure.unbilled} nano-USD are drawn and not billed, not {drawn}")


async def pay(
    tx: AsyncConnection,
    receivable_id: ReceivableId,
    amount: NanoUSD,
    now: datetime,
    *,
    source_ref: str,
    into: LedgerKind = LedgerKind.BANK,
    beyond: bool = False,
) -> EntryId:
    """Book a payment of a receivable that arrived at ``into``, and lend again what it freed.

    ``beyond``: it may be more than is open, since the money is there; what is more is in the customer's favour. Raises
    :class:`AmountRefused` for more than is open, and the database's ``IntegrityError`` for a payment that was booked
    before.
    """
    account_id = (await get_receivable(tx, receivable_id)).account_id
    await lock_credit(tx, account_id)
    found = await get_receivable(tx, receivable_id)
    if amount <= 0 or (amount > found.open and not beyond):
        raise AmountRefused(f"{found.open} nano-USD are open, not {amount}")
    legs = [Posting(LedgerKind.CUSTOMER_RECEIVABLE, amount, account_id), Posting(into, NanoUSD(-amount))]
    entry = await post(tx, "payment", f"payment:{source_ref}", legs, account_id=account_id)
    freed = found.frees(found.paid + amount) - found.frees(found.paid)
    await record_movement(tx, receivable_id, source_ref, entry, amount, NanoUSD(freed))
    await lend_missing(tx, account_id, now)
    return entry


async def record_return(
    tx: AsyncConnection,
    receivable_id: ReceivableId,
    amount: NanoUSD,
    now: datetime,
    *,
    source_ref: str,
    entry_id: EntryId,
) -> None:
    """Record what a dispute or refund did to a payment, whose entry was booked already: below zero it is owed again.

    What the payment had freed of the line is used again; jobs take back what is lent too much.
    """
    account_id = (await get_receivable(tx, receivable_id)).account_id
    await lock_credit(tx, account_id)
    found = await get_receivable(tx, receivable_id)
    freed = NanoUSD(found.frees(found.paid + amount) - found.frees(found.paid))
    await record_movement(tx, receivable_id, source_ref, entry_id, amount, freed)
    await unfit_line(tx, account_id)
    await lend_missing(tx, account_id, now)


async def credit_receivable(
    tx: AsyncConnection, source_ref: str, amount: NanoUSD, *, credited_by: str, entry_id: EntryId
) -> None:
    """Close an invoice that a credit note takes back, all that is left of it; its entry was booked already.

    What was paid of the invoice is in the customer's favour then: less than nothing is open. What was written off of
    it was not lost. The line is free by what was paid, and by nothing that was credited before.
    """
    found = await find_receivable(tx, source_ref)
    if found is None:
        return
    await lock_credit(tx, found.account_id)
    sums = (await tx.execute(_MOVED, {"receivable": found.id})).one()
    if sums.written_off:
        lost, source = NanoUSD(sums.written_off), f"write_off:undone:{credited_by}"
        legs = [
            Posting(LedgerKind.CUSTOMER_RECEIVABLE, NanoUSD(-lost), found.account_id),
            Posting(LedgerKind.WRITE_OFF, lost),
        ]
        undone = await post(tx, "write_off", source, legs, account_id=found.account_id)
        await record_movement(tx, found.id, source, undone, NanoUSD(-lost), NanoUSD(0))
    freed = NanoUSD(found.frees(sums.paid) - sums.freed)
    await record_movement(tx, found.id, credited_by, entry_id, amount, freed)
    await unfit_line(tx, found.account_id)


async def written_off(tx: AsyncConnection, receivable_id: ReceivableId) -> NanoUSD:
    """How much of a receivable was given up."""
    return NanoUSD((await tx.execute(_MOVED, {"receivable": receivable_id})).one().written_off)


async def credit_part(
    tx: AsyncConnection, source_ref: str, amount: NanoUSD, now: datetime, *, credited_by: str, entry_id: EntryId
) -> None:
    """Lower what an invoice demands by a credit note's total, as a payment would; its entry was booked already."""
    found = await find_receivable(tx, source_ref)
    if found is None:
        return
    await lock_credit(tx, found.account_id)
    found = await get_receivable(tx, found.id)
    freed = NanoUSD(found.frees(found.paid + amount) - found.frees(found.paid))
    await record_movement(tx, found.id, credited_by, entry_id, amount, freed)
    await lend_missing(tx, found.account_id, now)


async def write_off(
    tx: AsyncConnection, receivable_id: ReceivableId, amount: NanoUSD, *, source_ref: str, note: str = ""
) -> EntryId:
    """Book that so much of a receivable will not be paid. The line stays used by it: nothing was paid.

    Raises :class:`AmountRefused` for more than is open.
    """
    account_id = (await get_receivable(tx, receivable_id)).account_id
    await lock_credit(tx, account_id)
    found = await get_receivable(tx, receivable_id)
    if not 0 < amount <= found.open:
        raise AmountRefused(f"{found.open} nano-USD are open, not {amount}")
    legs = [
        Posting(LedgerKind.CUSTOMER_RECEIVABLE, amount, account_id),
        Posting(LedgerKind.WRITE_OFF, NanoUSD(-amount)),
    ]
    entry = await post(tx, "write_off", f"write_off:{source_ref}", legs, account_id=account_id, note=note)
    await record_movement(tx, receivable_id, f"write_off:{source_ref}", entry, amount, NanoUSD(0))
    return entry


async def record_movement(
    tx: AsyncConnection,
    receivable_id: ReceivableId,
    source_ref: str,
    entry_id: EntryId,
    amount: NanoUSD,
    freed: NanoUSD,
) -> None:
    """Record what was paid of a receivable, or below zero what went back, whose entry was booked already."""
    facts = {"receivable": receivable_id, "source_ref": source_ref, "entry": entry_id}
    await tx.execute(_INSERT_PAYMENT, {"id": PaymentId(new_id()), **facts, "amount": amount, "freed": freed})


async def find_receivable(tx: AsyncConnection, source_ref: str) -> Receivable | None:
    """The receivable of an invoice; None where it demands nothing."""
    row = (await tx.execute(_NAMED, {"source_ref": source_ref})).one_or_none()
    return None if row is None else Receivable(*row)


async def get_receivable(tx: AsyncConnection, receivable_id: ReceivableId) -> Receivable:
    """One receivable. Raises ``NoResultFound``."""
    return Receivable(*(await tx.execute(_ONE, {"id": receivable_id})).one())


async def list_receivables(tx: AsyncConnection) -> list[Receivable]:
    """All receivables, the oldest first."""
    return [Receivable(*row) for row in await tx.execute(_ALL)]


async def remind(tx: AsyncConnection, now: datetime) -> list[Reminder]:
    """Note which reminders unpaid receivables are due, each once, and return them: the last one of each receivable."""
    overdue = [Receivable(*row) for row in await tx.execute(_OVERDUE, {"today": now.date()})]
    due = []
    for found in overdue:
        if found.open > 0:
            steps = reminders_due((now.date() - found.due_on).days)
            noted = (await tx.execute(_REMIND, {"id": found.id, "steps": steps})).scalars().all()
            due += [Reminder(found, max(noted))] if noted else []
    return due
