"""Pure. What an account's money must be, in the fewest lines: an oracle for the state machine of money.

It knows the published order of spending, that debt is paid first, what each reason takes back, and what a minimum
charges. It knows no holds, no ledger, no Redis, no Stripe: those are what is tested.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

# In the order of spending.
KINDS = ("promotional", "goodwill", "purchased", "line")
GIFTS = ("promotional", "goodwill")
NEVER = 10**12


class Lot(msgspec.Struct):
    """What is left of a grant; ``day`` is the one on which it expires, ``topup`` what bought it."""

    kind: str
    left: int
    day: int = NEVER
    topup: str = ""


class Money(msgspec.Struct):
    """An account. ``owed`` is what was drawn of its line and is not paid; ``held`` what calls in flight hold.

    ``used`` is usage by month, ``own`` what gifts did not pay of it.
    """

    lots: list[Lot] = []
    debt: int = 0
    limit: int = 0
    owed: int = 0
    held: int = 0
    used: Counter[str] = msgspec.field(default_factory=Counter)
    own: Counter[str] = msgspec.field(default_factory=Counter)

    def left(self, kind: str) -> int:
        return sum(lot.left for lot in self.lots if lot.kind == kind)

    @property
    def free(self) -> int:
        return sum(lot.left for lot in self.lots) - self.held

    def give(self, kind: str, amount: int, *, day: int = NEVER, topup: str = "") -> None:
        paid = min(self.debt, amount)
        self.debt -= paid
        self.owed += paid if kind == "line" else 0
        self.lots.append(Lot(kind, amount - paid, day, topup))

    def spend(self, cost: int, month: str) -> None:
        drawn = self.draw(cost, KINDS)
        self.used[month] += cost
        self.own[month] += cost - sum(drawn[kind] for kind in GIFTS)

    def charge_rest_of(self, minimum: int, month: str) -> None:
        """What a month's usage, less what gifts paid of it, lacks. The rest is debt, which gifts pay as any debt."""
        missing = max(0, minimum - self.own[month])
        missing -= self.draw(missing, ("purchased", "line")).total()
        self.debt += missing - self.take(missing, GIFTS).total()

    def draw(self, cost: int, kinds: Iterable[str]) -> Counter[str]:
        """Use credit in the order of spending; returns how much of each kind."""
        drawn: Counter[str] = Counter()
        for lot in sorted(self.lots, key=lambda lot: (KINDS.index(lot.kind), lot.day)):
            part = min(lot.left, cost - drawn.total()) if lot.kind in kinds else 0
            lot.left -= part
            drawn[lot.kind] += part
        self.owed += drawn["line"]
        return drawn

    def take(self, amount: int, kinds: Iterable[str], *, topup: str | None = None) -> Counter[str]:
        """Take back of each kind in turn, the newest first; returns how much of each."""
        taken: Counter[str] = Counter()
        for kind in kinds:
            for lot in reversed(self.lots):
                if lot.kind == kind and topup in (None, lot.topup):
                    part = min(lot.left, amount - taken.total())
                    lot.left -= part
                    taken[kind] += part
        return taken

    def fit(self) -> None:
        """Lend what the line may lend, no more and no less."""
        missing = max(0, self.limit - self.owed) - self.left("line")
        if missing > 0:
            self.give("line", missing)
        else:
            self.take(-missing, ["line"])

    def expire(self, today: int) -> None:
        for lot in self.lots:
            lot.left = 0 if lot.day <= today else lot.left
