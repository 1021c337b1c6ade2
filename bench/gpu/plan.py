"""What is run, in which order, and for how long at most. Data.

On a GPU the smallest size goes first, because it finds mistakes cheaply, and the one that matters goes second, because
the time may be cut short. Each group is a process of its own: a fault of the device costs the rest of its group a
new process, nothing else.
"""

import msgspec

from providers.worker.model.family import SHAPES, Shape

# A shape of the family's kind that a CPU runs in a millisecond.
TINY = Shape("tiny", hidden=64, mlp=160, layers=2, heads=4, parameters=532_000, key_heads=2, head_width=32)
TINY_ROWS = 6144
# Importing torch on a machine that has just started takes most of this.
START_LIMIT_S = 120.0
# A step is not begun with less time than this.
STEP_TIME_MIN_S = 8.0


class Amount(msgspec.Struct, frozen=True):
    """How much of everything is measured."""

    lengths: tuple[int, ...]
    texts_compared: int
    texts_float32: int
    texts_against: dict[str, int]
    rate_s: float
    load_s: float
    lone_requests: int
    texts_of_batch: int
    pack_budgets: tuple[int, ...]
    graph_buckets: tuple[tuple[int, int], ...]
    repeats: int
    peak: int


REAL = Amount(
    lengths=(8, 64, 256, 512, 1024, 8192),
    texts_compared=200,
    texts_float32=40,
    texts_against={"80M": 2048, "1.7B": 1024, "4B": 640},
    rate_s=1.0,
    load_s=6.0,
    lone_requests=200,
    texts_of_batch=256,
    pack_budgets=(512, 2048, 8192, 16384, 32768),
    graph_buckets=((32, 1), (128, 8), (512, 32)),
    repeats=40,
    peak=8192,
)
SMALL = Amount(
    lengths=(8, 64),
    texts_compared=24,
    texts_float32=12,
    texts_against={"tiny": 24},
    rate_s=0.05,
    load_s=0.8,
    lone_requests=10,
    texts_of_batch=16,
    pack_budgets=(64, 256),
    graph_buckets=((32, 1), (64, 4)),
    repeats=3,
    peak=256,
)


class Group(msgspec.Struct, frozen=True):
    """Steps of one size that share a process, each with its limit in seconds."""

    size: str
    steps: tuple[tuple[str, float], ...]


class Plan(msgspec.Struct, frozen=True):
    """A whole run."""

    amount: Amount
    groups: tuple[Group, ...]
    rows: int | None = None


_FIRST = (("card", 40.0), ("build", 40.0), ("correctness", 45.0), ("float32", 45.0), ("speed", 40.0))
_FIRST_REST = (
    ("against", 40.0),
    ("timeline", 30.0),
    ("attention", 20.0),
    ("graphs", 30.0),
    ("load", 30.0),
    ("memory", 25.0),
)
_LARGEST = (("build", 60.0), ("correctness", 60.0), ("speed", 45.0), ("against", 60.0), ("timeline", 30.0))
_LARGEST_REST = (("formats", 50.0), ("load", 30.0), ("memory", 30.0), ("graphs", 30.0), ("attention", 20.0))
_MIDDLE = (("build", 40.0), ("correctness", 45.0), ("speed", 40.0), ("against", 45.0), ("timeline", 30.0))

ON_GPU = Plan(
    amount=REAL,
    groups=(
        Group("80M", _FIRST + _FIRST_REST),
        Group("4B", _LARGEST + _LARGEST_REST),
        Group("80M", (("assert", 50.0), ("terminate", 60.0))),
        Group("4B", (("http", 75.0),)),
        Group("1.7B", (*_MIDDLE, ("graphs", 30.0))),
        Group("80M", (("formats", 25.0), ("compile", 90.0))),
    ),
)
_ALL = (
    *(name for name, _ in _FIRST + _FIRST_REST),
    *("formats", "compile", "assert", "terminate", "http"),
)
ON_CPU = Plan(amount=SMALL, groups=(Group("tiny", tuple((name, 40.0) for name in _ALL)),), rows=TINY_ROWS)
PLANS = {"family": ON_GPU, "tiny": ON_CPU}


def shape_named(size: str) -> Shape:
    """The shape of a size in a plan."""
    return next(shape for shape in (*SHAPES, TINY) if shape.name == size)


def without(group: Group, ended: set[str]) -> Group:
    """What is left of a group."""
    return Group(group.size, tuple(step for step in group.steps if step[0] not in ended))
