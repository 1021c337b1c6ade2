"""Pure. Matches Stripe's balance transactions, payouts and balance with the entries that booked them.

Each transaction has exactly one entry, ``stripe:<id>``, whose legs are those of its kind; a payment's books its fee
alone, so a payment without a fee has none. A payout that was not taken back is at the bank.
"""

from collections.abc import Iterable, Mapping

import msgspec

from billing.chart import LedgerKind
from billing.money import NanoUSD
from billing.reconciliation.values import Found, Kind
from billing.stripe.transaction_rules import Movement, legs_of, movement_of
from billing.stripe.values import CURRENCY, Balance, Payout, Transaction, nano_of

BALANCE = "balance"
# A payout that came back to Stripe, or never left.
RETURNED = frozenset({"failed", "canceled"})


class Booked(msgspec.Struct, frozen=True):
    """What of a transaction is in the ledger: its row, and the legs of its entries in nano-USD (debits are negative).

    ``entries`` counts the entries of its id.
    """

    row: Transaction | None = None
    is_booked: bool = False
    entries: int = 0
    clearing: int = 0
    bank: int = 0


def match_transaction(stripe: Transaction | None, booked: Booked, *, is_young: bool) -> Found | None:
    """The difference of one transaction, if there is any; a young one may be on its way into the books.

    ``stripe`` None: Stripe does not have it.
    """
    if stripe is None:
        row = booked.row
        lost = "booked here, and Stripe does not have it"
        return None if row is None else Found(Kind.NOT_AT_STRIPE, row.id, NanoUSD(-nano_of(row.net)), lost)
    what = f"{stripe.type} of {_usd(stripe.net)} {stripe.currency}"
    movement = movement_of(stripe.type, stripe.reporting_category)
    kind, off, message = None, nano_of(stripe.net), ""
    if stripe.currency != CURRENCY:
        kind, off, message = Kind.OTHER_CURRENCY, NanoUSD(0), "the books are in USD"
    elif movement is None:
        kind, message = Kind.UNKNOWN_KIND, "no rule books this kind"
    elif booked.row is not None and booked.row != stripe:
        kind, off = Kind.CHANGED_AT_STRIPE, NanoUSD(nano_of(stripe.net) - nano_of(booked.row.net))
        message = f"at Stripe it is not what was booked, {booked.row.type} of {_usd(booked.row.net)}"
    elif not booked.is_booked:
        kind, message = (None, "") if is_young else (Kind.NOT_BOOKED, "it is not booked")
    elif (expected := expected_legs(movement, stripe)) == (0, 0) and booked.entries == 0:
        kind = None
    elif booked.entries != 1:
        kind, message = Kind.ENTRY_MISSING, f"it is marked as booked and has {booked.entries} entries"
    elif expected != (booked.clearing, booked.bank):
        kind, message = Kind.ENTRY_DIFFERS, "its entry has other amounts"
        off = NanoUSD(booked.clearing - expected[0] or booked.bank - expected[1])
    return None if kind is None else Found(kind, stripe.id, off, f"{what}: {message}")


def expected_legs(movement: Movement, transaction: Transaction) -> tuple[int, int]:
    """What its entry posts to ``stripe_clearing`` and to ``bank``, in nano-USD."""
    sums = {LedgerKind.STRIPE_CLEARING: 0, LedgerKind.BANK: 0}
    for leg in legs_of(movement, transaction.amount, transaction.fee):
        if leg.kind in sums:
            sums[leg.kind] += nano_of(leg.cents)
    return sums[LedgerKind.STRIPE_CLEARING], sums[LedgerKind.BANK]


def match_payout(payout: Payout, at_bank: Mapping[str, int], *, is_young: bool) -> Found | None:
    """The difference of one payout. ``at_bank`` has, by payout, what entries debited the bank with, in nano-USD."""
    if payout.currency != CURRENCY:
        return Found(Kind.OTHER_CURRENCY, payout.id, NanoUSD(0), f"a payout in {payout.currency}: the books are in USD")
    expected = 0 if payout.status in RETURNED else nano_of(payout.amount)
    off = expected - at_bank.get(payout.id, 0)
    if not off or is_young:
        return None
    message = f"a payout of {_usd(payout.amount)} is {payout.status}, and the bank is off by {_usd(off // 10_000_000)}"
    return Found(Kind.PAYOUT_NOT_AT_BANK, payout.id, NanoUSD(off), message)


def match_balance(balance: Balance, clearing_cents: int) -> Iterable[Found]:
    """The differences of the balance: what Stripe has, pending and available, and what ``stripe_clearing`` says."""
    if off := balance.cents - clearing_cents:
        pending, available = (
            sum(one.amount for one in amounts if one.currency == CURRENCY)
            for amounts in (balance.pending, balance.available)
        )
        message = (
            f"Stripe has {_usd(pending)} pending and {_usd(available)} available, the ledger {_usd(clearing_cents)}"
        )
        yield Found(Kind.BALANCE_DIFFERS, BALANCE, nano_of(off), message)
    others: dict[str, int] = {}
    for one in (*balance.pending, *balance.available):
        if one.currency != CURRENCY:
            others[one.currency] = others.get(one.currency, 0) + one.amount
    for currency, amount in sorted(others.items()):
        if amount:
            message = f"Stripe has {amount} of the smallest unit of {currency}: the books are in USD"
            yield Found(Kind.OTHER_CURRENCY, f"{BALANCE}:{currency}", NanoUSD(0), message)


def _usd(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"
