"""What the run must show, and whether it did."""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from bench.gpu.records import Record, Values, figure, figures, number, sizes_of

COSINE = 0.9999
DIFFERENCE = 1e-4
MFU = 0.5
MFU_SIZE, MFU_TOKENS = "4B", 256
RATIO = 5.0
EXIT_DEVICE_LOST = 70


class Goal(msgspec.Struct, frozen=True):
    """One promise of one size; ``reached`` is None where nothing was measured."""

    size: str
    promise: str
    measured: str
    reached: bool | None


def goals(records: Sequence[Record]) -> Iterator[Goal]:
    """All of them, in the order of the steps."""
    for size in sizes_of(records):
        yield from _correctness(records, size)
        yield from _speed(records, size)
        yield from _faults(records, size)


def _correctness(records: Sequence[Record], size: str) -> Iterator[Goal]:
    for record in figures(records, "correctness", size):
        if "cosine_min" in record.values:
            yield _number(
                size, f"{record.name}: cosine at least {COSINE}", record.values, "cosine_min", _at_least(COSINE)
            )
    values = figure(records, "float32", size, "against the CPU")
    if values:
        promise = f"float32 as on the CPU: no number off by more than {DIFFERENCE:g}"
        yield _number(size, promise, values, "difference_max", lambda found: found <= DIFFERENCE)


def _speed(records: Sequence[Record], size: str) -> Iterator[Goal]:
    for record in figures(records, "speed", size):
        length = record.name.partition(" ")[0]
        if size == MFU_SIZE and record.name.endswith(" tokens") and int(length) >= MFU_TOKENS:
            promise = f"{record.name} per text: {MFU:.0%} of the measured peak"
            yield _number(size, promise, record.values, "mfu", _at_least(MFU))
    values = figure(records, "against", size, "best")
    if values:
        promise = f"{RATIO:g} times sentence-transformers on the skewed mix"
        yield _number(size, promise, values, "ratio", _at_least(RATIO))


def _faults(records: Sequence[Record], size: str) -> Iterator[Goal]:
    if values := figure(records, "memory", size, "shortage"):
        shrank = _less(values, "budget_smallest", "budget_tokens")
        yield Goal(
            size,
            "out of memory: the pack is split, the budget shrinks, no request fails",
            f"{values.get('faults')} faults, budget {values.get('budget_tokens')} to {values.get('budget_smallest')}, "
            f"then {values.get('budget_after')}; {values.get('requests_failed')} requests failed",
            shrank and values.get("requests_failed") == 0 and (number(values, "cosine_min") or 0) >= COSINE,
        )
    if values := figure(records, "assert", size, "outcome"):
        yield Goal(
            size,
            f"device assert: its request gets 503, none hangs, the process ends with {EXIT_DEVICE_LOST}",
            f"{values.get('trigger')}, {values.get('hung')} hung, exit {values.get('exit_code')}",
            (values.get("trigger"), values.get("hung"), values.get("exit_code")) == ("503", 0, EXIT_DEVICE_LOST),
        )
    if values := figure(records, "terminate", size, "outcome"):
        yield Goal(
            size,
            "SIGTERM under load: all that was sent before is answered, the process ends with 0",
            f"{values.get('lost')} lost, exit {values.get('exit_code')} after {values.get('exit_s'):.1f} s",
            (values.get("lost"), values.get("exit_code")) == (0, 0),
        )


def _number(size: str, promise: str, values: Values, name: str, holds: Callable[[float], bool]) -> Goal:
    found = number(values, name)
    if found is None:
        return Goal(size, promise, "not measured", None)
    return Goal(size, promise, f"{found:.6g}", holds(found))


def _at_least(least: float) -> Callable[[float], bool]:
    return lambda found: found >= least


def _less(values: Values, name: str, other: str) -> bool:
    left, right = number(values, name), number(values, other)
    return left is not None and right is not None and left < right
