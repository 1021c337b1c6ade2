"""The table of `make chaos`: which fault, where, for how long, is done by which attack; or why it makes no sense.

This is data. A row's three levels are in the measure that it names: short, at the threshold (after 4 s others count a
process dead and the deadline of a call is over), and long.
"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec


class Fault(StrEnum):
    """What goes wrong."""

    KILL = "kill"
    FREEZE = "freeze"
    CUT = "cut"
    CUT_TO = "cut-to"
    CUT_FROM = "cut-from"
    WIPE = "wipe"
    ROLL_BACK = "roll-back"
    LOSE_KEYS = "lose-keys"
    CLOCK = "clock"
    FULL_DISK = "full-disk"
    READ_ONLY = "read-only"
    NO_DESCRIPTORS = "no-descriptors"
    NO_MEMORY = "no-memory"
    KILL_AT_START = "kill-at-start"
    UNFINISHED_BODIES = "unfinished-bodies"
    IMPOSTOR = "impostor"


class Place(StrEnum):
    """Where. The provider of `up` is its own worker."""

    SERVE = "serve"
    JOBS = "jobs"
    REDIS = "redis"
    POSTGRES = "postgres"
    PROVIDER = "provider"
    UP = "up"


class Duration(StrEnum):
    """How long, or how much."""

    SHORT = "short"
    THRESHOLD = "threshold"
    LONG = "long"


class Attack(StrEnum):
    """Who does it: each is one function of :mod:`tests.chaos.attacks`."""

    LOAD = "calls of a rich and of a poor account, at three serves; a silence for 0 to 60 s in virtual time, too"
    SILENCE = "that, and credit for 20 calls is spent elsewhere meanwhile"
    KEYS = "that, and every hold of a process is lost with its keys"
    CLOCK = "caps, keys, credit and calls in flight of a process whose clock is off, and jumps"
    UP = "a customer's calls at `gigarouter up`"
    UP_ENDS = "`gigarouter up` is started again with its data"
    UP_STARTS = "`gigarouter up` starts, then a customer's call"
    BODIES = "bodies of 4 MB without their last byte, and a customer's calls beside them"
    IMPOSTOR = "an endpoint that is wrong in a way that the seed draws"


class Row(msgspec.Struct, frozen=True):
    """One fault: its levels, and for each place its attack or the reason why it has none."""

    fault: Fault
    does: str
    levels: tuple[float, float, float]
    measure: str
    places: dict[Place, Attack | str]


class Cell(msgspec.Struct, frozen=True):
    """One field of the table. ``level`` is in its row's measure."""

    fault: Fault
    place: Place
    duration: Duration
    level: float
    measure: str
    attack: Attack

    @property
    def name(self) -> str:
        return f"{self.fault}@{self.place}/{self.duration}"


def all_of(attack: Attack, **others: Attack | str) -> dict[Place, Attack | str]:
    """Everywhere the same attack, but for ``others``."""
    return {place: others.get(place.value, attack) for place in Place}


def only(reason: str, **others: Attack | str) -> dict[Place, Attack | str]:
    """Nowhere, but for ``others``."""
    return {place: others.get(place.value, reason) for place in Place}


A = Attack
_NETWORK = {
    "serve": A.SILENCE,
    "up": "it reaches nothing over a network: it starts processes, and its stores are on sockets of this machine",
}

TABLE = (
    Row(Fault.KILL, "SIGKILL, and started again after", (0.2, 4.2, 8), "s", all_of(A.LOAD, up=A.UP_ENDS)),
    Row(
        Fault.FREEZE,
        "SIGSTOP for",
        (0.5, 4.2, 8),
        "s",
        all_of(
            A.LOAD,
            serve=A.SILENCE,
            provider="its machine is not ours; from here it looks as cut@provider does",
            up=A.UP,
        ),
    ),
    Row(Fault.CUT, "nothing arrives, both ways, for", (0.5, 4.2, 8), "s", all_of(A.LOAD, **_NETWORK)),
    Row(Fault.CUT_TO, "nothing arrives at the server for", (0.5, 4.2, 8), "s", all_of(A.LOAD, **_NETWORK)),
    Row(Fault.CUT_FROM, "nothing arrives from the server for", (0.5, 4.2, 8), "s", all_of(A.LOAD, **_NETWORK)),
    Row(
        Fault.WIPE,
        "FLUSHALL, a second apart, so many times:",
        (1, 3, 6),
        "",
        only(
            "it keeps nothing that outlives its process: see kill",
            redis=A.LOAD,
            postgres="it is the record; an empty one is a new installation",
        ),
    ),
    Row(
        Fault.ROLL_BACK,
        "killed, and back with files as old as",
        (0.5, 4.2, 8),
        "s",
        only(
            "it keeps nothing that outlives its process: see kill",
            redis=A.LOAD,
            postgres="it is the record: a copy that is put back is the truth, as old as it is",
        ),
    ),
    Row(
        Fault.LOSE_KEYS,
        "keys of an account are deleted or put back older, then a serve dies; so many of its three keys:",
        (1, 2, 3),
        "",
        only("the only keys are Redis'", redis=A.KEYS),
    ),
    Row(
        Fault.CLOCK,
        "the wall clock is off, ahead or behind, by",
        (2, 40 * 24, 100 * 24),
        "h",
        only(
            "",
            serve=A.CLOCK,
            jobs=A.CLOCK,
            redis="nothing of it is read that its clock decides but keys that expire by themselves",
            postgres="its clock is money's time: there is nothing that it could be off from",
            provider="its clock is never read",
            up="it reads the monotonic clock alone",
        ),
    ),
    Row(Fault.FULL_DISK, "not a byte is left, and it dies, for", (1, 4.2, 10), "s", all_of(A.UP)),
    Row(Fault.READ_ONLY, "the file system is read-only, and it dies, for", (1, 4.2, 10), "s", all_of(A.UP)),
    Row(Fault.NO_DESCRIPTORS, "it can open nothing more for", (1, 4.2, 10), "s", all_of(A.UP)),
    Row(Fault.NO_MEMORY, "it gets no more memory for", (1, 4.2, 10), "s", all_of(A.UP)),
    Row(
        Fault.KILL_AT_START,
        "killed as soon as it is there, so many times:",
        (1, 2, 4),
        "",
        all_of(A.UP_STARTS, up="who starts it is a person, and starts it again: see kill@up"),
    ),
    Row(
        Fault.UNFINISHED_BODIES,
        "so many at once:",
        (10, 64, 100),
        "",
        only(
            "no customer's body reaches it",
            serve=A.BODIES,
            provider="its unfinished answers are cut-from@provider",
        ),
    ),
    Row(
        Fault.IMPOSTOR,
        "from its test on (0), after it has gone live (1), and compared in real calls alone (2):",
        (0, 1, 2),
        "",
        only("it gives no vectors", provider=A.IMPOSTOR),
    ),
)


def cells() -> Iterator[Cell]:
    """Every field that makes sense."""
    for row in TABLE:
        for place, attack in row.places.items():
            if isinstance(attack, Attack):
                for duration, level in zip(Duration, row.levels, strict=True):
                    yield Cell(row.fault, place, duration, level, f"{row.does} {level:g} {row.measure}".strip(), attack)


def reasons() -> Iterator[tuple[str, str]]:
    """Every field that makes none, as ``fault@place``, and why."""
    for row in TABLE:
        for place, attack in row.places.items():
            if not isinstance(attack, Attack):
                yield f"{row.fault}@{place}", attack
