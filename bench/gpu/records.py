"""What a run leaves behind: one JSON line per event, written when it happens, so that a cut-off run keeps what it had.

A step's lines are ``begin``, any number of ``figure``, and ``end`` with how it went. The first line of a file is a
``figure`` of the step ``run``: machine, date and commit.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

Value = float | int | str | bool | None
Values = dict[str, Value]
State = Literal["", "done", "failed", "skipped"]

# A step of the run as a whole, not of one size.
RUN = "run"


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. ``name`` tells figures of one step distances; ``reason`` says why a step failed or was skipped."""

    kind: Literal["begin", "figure", "end"]
    size: str
    step: str
    name: str = ""
    values: Values = {}
    state: State = ""
    seconds: float = 0.0
    reason: str = ""


_decoder = msgspec.json.Decoder(Record)


def line(record: Record) -> bytes:
    """As it stands in the file, with its line end."""
    return msgspec.json.encode(record) + b"\n"


def parse(text: bytes) -> Record | None:
    """The record of a line; None where it is none, as the last line of a run that was cut off."""
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError:
        return None


def read(path: Path) -> list[Record]:
    """All whole records of a file."""
    return [record for text in path.read_bytes().splitlines() if (record := parse(text)) is not None]


def figures(records: Iterable[Record], step: str, size: str | None = None) -> Iterator[Record]:
    """The figures of a step, of one size or of all."""
    for record in records:
        if record.kind == "figure" and record.step == step and size in (None, record.size):
            yield record


def figure(records: Iterable[Record], step: str, size: str, name: str) -> Values | None:
    """One figure's values; the last one where a step was run again."""
    found = [one.values for one in figures(records, step, size) if one.name == name]
    return found[-1] if found else None


def number(values: Values | None, name: str) -> float | None:
    """A value that is a number."""
    value = values.get(name) if values else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def sizes_of(records: Iterable[Record]) -> list[str]:
    """The sizes that were measured, in the family's order as far as they are of it."""
    order = ["80M", "160M", "330M", "0.6B", "1.7B", "4B", "8B", "14B"]
    found = {record.size for record in records if record.size != RUN}
    return sorted(found, key=lambda size: order.index(size) if size in order else len(order))
