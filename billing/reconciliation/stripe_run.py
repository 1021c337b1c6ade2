"""Compares all that moved our balance at Stripe with the entries that booked it, and the balance with the ledger.

First everything is booked that can be. Then what Stripe lists since a week before the comparison before, what our rows
have of that time, and every object that differed the last time, are looked at, each against the ledger. A comparison
that is cut off, or that Stripe does not answer, changes nothing in the queue.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.books import posted_to
from billing.chart import HOUSE, LedgerKind
from billing.reconciliation import differences
from billing.reconciliation.runs import RunKind, last_done_at
from billing.reconciliation.stripe_rules import BALANCE, Booked, match_balance, match_payout, match_transaction
from billing.reconciliation.values import Found
from billing.stripe import sweep
from billing.stripe.context import StripeContext
from billing.stripe.errors import StripeRefused
from billing.stripe.transactions import transaction_of
from billing.stripe.values import NANO_PER_CENT, Balance, Payout, Transaction
from store.postgres import Database

SCOPE = "stripe"
OVERLAP = timedelta(days=7)
# What is new is booked within a quarter of an hour.
YOUNG = timedelta(minutes=15)
# Between two looks at the balance: what is under way is booked meanwhile, and a difference that stays is one.
SETTLE_S = 5.0
LOOKS = 3
# A payout, and the transactions of one, are found in lists by the id's beginning.
TRANSACTION, PAYOUT = "txn_", "po_"

_ROWS = text("""
    SELECT * FROM stripe_transactions WHERE id = ANY(CAST(:ids AS text[])) OR created_at >= :since
""")
_BOOKED = text("""
    SELECT f.source_ref, count(DISTINCT e.id) AS entries,
        coalesce(sum(p.amount_nano) FILTER (WHERE l.kind = 'stripe_clearing'), 0)::bigint AS clearing,
        coalesce(sum(p.amount_nano) FILTER (WHERE l.kind = 'bank'), 0)::bigint AS bank
    FROM booked_facts f JOIN entries e ON e.id = f.entry_id JOIN postings p ON p.entry_id = e.id
    JOIN ledger_accounts l ON l.id = p.ledger_account_id
    WHERE f.source_ref = ANY(CAST(:sources AS text[])) GROUP BY 1
""")
_AT_BANK = text("""
    SELECT t.source AS payout, -sum(p.amount_nano)::bigint AS amount
    FROM stripe_transactions t JOIN booked_facts f ON f.source_ref = 'stripe:' || t.id
    JOIN postings p ON p.entry_id = f.entry_id JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.kind = 'bank'
    WHERE t.source = ANY(CAST(:payouts AS text[])) GROUP BY 1
""")


class _AtStripe(msgspec.Struct, frozen=True):
    """What Stripe says: transactions by id, None for one that it does not have; payouts; the balance."""

    transactions: dict[str, Transaction | None]
    payouts: list[Payout]


class Result(msgspec.Struct, frozen=True):
    """How many objects were looked at, and what differs."""

    examined: int
    found: Sequence[Found]


async def reconcile(context: StripeContext, *, settle_s: float = SETTLE_S, young: timedelta = YOUNG) -> Result:
    """Compare, and keep what differs in the queue. Raises :class:`billing.stripe.errors.StripeUnavailable`."""
    await sweep.sweep_transactions(context)
    now = context.db.clock.now()
    async with context.db.transaction() as tx:
        last = await last_done_at(tx, RunKind.STRIPE)
        open_before = await differences.open_objects(tx, SCOPE)
    since = datetime.fromtimestamp(0, UTC) if last is None else last - OVERLAP
    at_stripe = await _read_stripe(context, since, open_before)
    async with context.db.transaction(snapshot=True) as tx:
        booked = await _read_books(tx, at_stripe.transactions, since)
        at_bank = await _read_bank(tx, at_stripe.payouts)
    # Rows of the span that Stripe's list does not have are looked at, too, each by its id.
    missing = booked.keys() - at_stripe.transactions.keys()
    transactions = {**at_stripe.transactions, **{one: await _transaction(context, one) for one in sorted(missing)}}
    young_since = int((now - young).timestamp())
    found = [
        *_of_transactions(transactions, booked, young_since),
        *(
            one
            for payout in at_stripe.payouts
            if (one := match_payout(payout, at_bank, is_young=payout.created >= young_since))
        ),
        *await _of_balance(context, settle_s),
    ]
    examined = {*transactions, *(payout.id for payout in at_stripe.payouts), BALANCE}
    examined |= {one for one in open_before if one.startswith(f"{BALANCE}:")}
    async with context.db.transaction() as tx:
        await differences.record_found(tx, SCOPE, found, examined)
    return Result(len(examined), found)


def _of_transactions(
    transactions: dict[str, Transaction | None], booked: dict[str, Booked], young_since: int
) -> Iterable[Found]:
    for transaction_id, stripe in sorted(transactions.items()):
        is_young = stripe is not None and stripe.created >= young_since
        found = match_transaction(stripe, booked.get(transaction_id, Booked()), is_young=is_young)
        if found is not None:
            yield found


async def _read_stripe(context: StripeContext, since: datetime, open_before: Sequence[str]) -> _AtStripe:
    client, at = context.client, int(since.timestamp())
    transactions: dict[str, Transaction | None] = {one.id: one async for one in client.transactions(at)}
    payouts = {one.id: one async for one in client.payouts(at)}
    for name in open_before:
        if name.startswith(TRANSACTION) and name not in transactions:
            transactions[name] = await _transaction(context, name)
        elif name.startswith(PAYOUT) and name not in payouts:
            payouts[name] = await client.payout(name)
    return _AtStripe(transactions, list(payouts.values()))


async def _transaction(context: StripeContext, transaction_id: str) -> Transaction | None:
    try:
        return await context.client.transaction(transaction_id)
    except StripeRefused as refused:
        if refused.is_missing:
            return None
        raise


async def _read_books(
    tx: AsyncConnection, transactions: dict[str, Transaction | None], since: datetime
) -> dict[str, Booked]:
    rows = (await tx.execute(_ROWS, {"ids": list(transactions), "since": since})).all()
    sources = [f"stripe:{row.id}" for row in rows]
    entries = {row.source_ref: row for row in await tx.execute(_BOOKED, {"sources": sources})}
    booked = {}
    for row in rows:
        entry = entries.get(f"stripe:{row.id}")
        booked[row.id] = Booked(
            row=transaction_of(row),
            is_booked=row.booked_at is not None,
            entries=entry.entries if entry else 0,
            clearing=entry.clearing if entry else 0,
            bank=entry.bank if entry else 0,
        )
    return booked


async def _read_bank(tx: AsyncConnection, payouts: Sequence[Payout]) -> dict[str, int]:
    rows = await tx.execute(_AT_BANK, {"payouts": [payout.id for payout in payouts]})
    return {row.payout: int(row.amount) for row in rows}


async def _of_balance(context: StripeContext, settle_s: float) -> list[Found]:
    """The differences of the balance that two looks in a row find alike."""
    before: list[Found] = []
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(settle_s)
            await sweep.sweep_transactions(context)
        found = list(match_balance(*await _balance(context.db, context)))
        if found == before or not found:
            return found
        before = found
    return before


async def _balance(db: Database, context: StripeContext) -> tuple[Balance, int]:
    balance = await context.client.balance()
    async with db.transaction(snapshot=True) as tx:
        clearing = await posted_to(tx, HOUSE[LedgerKind.STRIPE_CLEARING])
    return balance, -clearing // NANO_PER_CENT
