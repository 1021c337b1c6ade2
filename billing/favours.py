"""Sets what a customer has in favour off against another invoice of theirs, or pays it back at the bank.

In favour is what was paid of an invoice that was taken back, or beyond what was open. It stays with its receivable,
whose open amount is below zero, until it is used; what it had freed of the line is used again then.
"""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.debt import lock_credit
from billing.ledger import Posting, post
from billing.lines import lend_missing
from billing.money import NanoUSD
from billing.receivables import AmountRefused, Receivable, get_receivable, record_movement
from store.ids import AccountId, EntryId, ReceivableId

_FAVOURS = text("""
    SELECT r.id, EXISTS (SELECT FROM documents d JOIN documents c ON c.corrects = d.id AND NOT c.partial
        WHERE d.name = r.source_ref) AS is_voided
    FROM receivables r WHERE r.account_id = :account
        AND (SELECT coalesce(sum(p.amount_nano), 0) FROM receivable_payments p WHERE p.receivable_id = r.id)
            > r.total_nano
    ORDER BY r.id
""")


class Favour(msgspec.Struct, frozen=True):
    """What a customer has in favour of one receivable; ``is_voided``: its invoice was taken back."""

    receivable: Receivable
    is_voided: bool

    @property
    def amount(self) -> NanoUSD:
        """How much it is."""
        return NanoUSD(-self.receivable.open)

    def freed_by(self, used: int) -> int:
        """How much of the line so much of it had freed: of an invoice that was taken back, what was paid counts."""
        found = self.receivable
        paid = self.amount if self.is_voided else found.paid
        return found.frees(paid) - found.frees(paid - used)


class FavourChanged(Exception):
    """Less is in the customer's favour than was to be used."""


async def read_favours(tx: AsyncConnection, account_id: AccountId) -> list[Favour]:
    """What an account has in favour, the oldest first."""
    rows = (await tx.execute(_FAVOURS, {"account": account_id})).all()
    return [Favour(await get_receivable(tx, row.id), row.is_voided) for row in rows]


async def set_off(tx: AsyncConnection, name: str, onto: Receivable, amount: NanoUSD, now: datetime) -> None:
    """Pay a receivable from what is in favour of the invoice ``name``. Raises :class:`FavourChanged`."""
    await lock_credit(tx, onto.account_id)
    found = next((one for one in await read_favours(tx, onto.account_id) if one.receivable.source_ref == name), None)
    if found is None or found.amount < amount:
        raise FavourChanged(name)
    account_id, source = onto.account_id, f"set_off:{name}:{onto.source_ref}"
    legs = [
        Posting(LedgerKind.CUSTOMER_RECEIVABLE, amount, account_id),
        Posting(LedgerKind.CUSTOMER_RECEIVABLE, NanoUSD(-amount), account_id),
    ]
    entry = await post(tx, "payment", source, legs, account_id=account_id)
    await _use(tx, found, amount, f"{source}:from", entry)
    paying = await get_receivable(tx, onto.id)
    freed = NanoUSD(paying.frees(paying.paid + amount) - paying.frees(paying.paid))
    await record_movement(tx, onto.id, source, entry, amount, freed)
    await lend_missing(tx, account_id, now)


async def pay_back(
    tx: AsyncConnection, receivable_id: ReceivableId, amount: NanoUSD, *, source_ref: str, note: str = ""
) -> EntryId:
    """Book that so much of what is in the customer's favour was paid back at the bank.

    Raises :class:`AmountRefused` for more than is in favour, and the database's ``IntegrityError`` for one that was
    booked before.
    """
    account_id = (await get_receivable(tx, receivable_id)).account_id
    await lock_credit(tx, account_id)
    found = next((one for one in await read_favours(tx, account_id) if one.receivable.id == receivable_id), None)
    if found is None or not 0 < amount <= found.amount:
        raise AmountRefused(f"{found.amount if found else 0} nano-USD are in favour, not {amount}")
    legs = [Posting(LedgerKind.CUSTOMER_RECEIVABLE, NanoUSD(-amount), account_id), Posting(LedgerKind.BANK, amount)]
    entry = await post(tx, "payment", f"pay_back:{source_ref}", legs, account_id=account_id, note=note)
    await _use(tx, found, amount, f"pay_back:{source_ref}", entry)
    return entry


async def _use(tx: AsyncConnection, found: Favour, amount: NanoUSD, source_ref: str, entry: EntryId) -> None:
    freed = NanoUSD(-found.freed_by(amount))
    await record_movement(tx, found.receivable.id, source_ref, entry, NanoUSD(-amount), freed)
