"""Pure. What an account's money must be, in the fewest lines: an oracle for the state machine of money.

It knows the published order of spending, that given credit pays for calls alone and all other credit debt first, what
each reason takes back, and what a minimum charges. It knows no holds, no ledger, no Redis, no Stripe: those are what is
tested. Since a call never passes the credit, no debt of the machine is usage.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

GIFTS = ("promotional", "goodwill")
OWN = ("purchased", "line")
# In the order of spending.
KINDS = (*GIFTS, *OWN)
NEVER = 10**12


class Lot(msgspec.Struct):
    """What is left of a grant; ``day`` is the one on which it expires, ``topup`` what bought it."""

    kind: str
    left: int
    day: int = NEVER
    topup: str = ""


class Money(msgspec.Struct):
    """An account. ``owed`` is drawn of its line and not paid, ``held`` by calls; ``used`` and ``own`` are by month.

    ``used`` is all usage, ``own`` what gifts did not pay of it.
    """

    lots: list[Lot] = []
    debt: int = 0
    limit: int = 0
    owed: int = 0
    held: int = 0
    used: Counter[str] = msgspec.field(default_factory=Counter)
    own: Counter[str] = msgspec.field(default_factory=Counter)

    def left(self, *kinds: str) -> int:
        return sum(lot.left for lot in self.lots if lot.kind in kinds)

    @property
    def free(self) -> int:
        return self.left(*KINDS) - self.held

    def give(self, kind: str, amount: int, *, day: int = NEVER, topup: str = "") -> None:
        paid = min(self.debt, amount) if kind in OWN else 0
        self.debt -= paid
        self.owed += paid if kind == "line" else 0
        self.lots.append(Lot(kind, amount - paid, day, topup))

    def spend(self, cost: int, month: str) -> None:
        paid = self.charge(cost, KINDS)
        self.used[month] += cost
        self.own[month] += cost - sum(paid[kind] for kind in GIFTS)

    def charge_minimum(self, minimum: int, month: str) -> None:
        self.charge(max(0, minimum - self.own[month]), OWN)

    def charge(self, amount: int, kinds: Sequence[str]) -> Counter[str]:
        """Use credit in the order of spending, of one kind what expires first. The rest is debt."""
        paid = _use(amount, kinds, sorted(self.lots, key=lambda lot: lot.day))
        self.owed += paid["line"]
        self.debt += amount - paid.total()
        return paid

    def take(self, amount: int, kinds: Sequence[str], *, topup: str | None = None) -> Counter[str]:
        """Take back of each kind in turn, the newest first; returns how much of each."""
        return _use(amount, kinds, [lot for lot in reversed(self.lots) if topup in (None, lot.topup)])

    def fit(self) -> None:
        """Lend what the line may lend, no more and no less."""
        missing = max(0, self.limit - self.owed) - self.left("line")
        if missing > 0:
            self.give("line", missing)
        self.take(max(0, -missing), ["line"])

    def expire(self, today: int) -> None:
        self.lots = [lot for lot in self.lots if lot.day > today]


def _use(amount: int, kinds: Sequence[str], lots: list[Lot]) -> Counter[str]:
    used: Counter[str] = Counter()
    for lot in sorted((lot for lot in lots if lot.kind in kinds), key=lambda lot: kinds.index(lot.kind)):
        part = min(lot.left, amount - used.total())
        lot.left -= part
        used[lot.kind] += part
    return used
