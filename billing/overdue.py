"""Pure. What becomes of a credit line whose invoice is not paid: reminders first, then nothing is lent any more."""

import msgspec

from billing.money import NanoUSD

# Days after the due date: a reminder at each of these, and no credit from the last one on.
REMINDER_DAYS = (1, 7, 14)
SHRINK_DAYS = REMINDER_DAYS[-1]


class Exposure(msgspec.Struct, frozen=True):
    """What an account's line has lent: ``available`` is left to draw, the rest is drawn and somewhere on its way.

    ``drawn`` was drawn and is not unbilled receivable yet, ``unbilled`` is on no invoice, ``billed`` on one that is not
    paid.
    """

    available: NanoUSD
    drawn: NanoUSD
    unbilled: NanoUSD
    billed: NanoUSD

    @property
    def owed(self) -> NanoUSD:
        """All that was drawn and not paid."""
        return NanoUSD(self.drawn + self.unbilled + self.billed)


def lendable(limit: NanoUSD, days_overdue: int) -> NanoUSD:
    """The limit that holds while the oldest unpaid invoice is so many days overdue; 0 or less: none is."""
    return NanoUSD(0) if days_overdue >= SHRINK_DAYS else limit


def misfit(limit: NanoUSD, exposure: Exposure) -> int:
    """How much must be lent more (positive) or taken back (negative), so that no more than the limit can be owed.

    Calls that draw meanwhile change nothing of it: what is owed grows by what becomes unavailable.
    """
    return max(0, limit - exposure.owed) - exposure.available


def reminders_due(days_overdue: int) -> int:
    """How many reminders should have been sent by now."""
    return sum(days_overdue >= days for days in REMINDER_DAYS)
