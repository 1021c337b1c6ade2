"""The attacks of the table: each takes a cell, a seed and the venues, and returns what was done and lost.

Their order is that of the cells: those at the same venue follow each other.
"""

from collections.abc import Callable

from tests.chaos.attacks import stores, storms, ups
from tests.chaos.attacks.outcome import Outcome, Venues
from tests.chaos.table import Attack, Cell

ATTACKS: dict[Attack, Callable[[Cell, int, Venues], Outcome]] = {
    Attack.LOAD: storms.load,
    Attack.SILENCE: storms.silence,
    Attack.KEYS: storms.keys,
    Attack.CLOCK: stores.clock,
    Attack.UP: ups.up,
    Attack.UP_ENDS: ups.up_ends,
    Attack.UP_STARTS: ups.up_starts,
    Attack.BODIES: stores.bodies,
    Attack.IMPOSTOR: stores.impostor,
}

__all__ = ["ATTACKS", "Outcome", "Venues"]
