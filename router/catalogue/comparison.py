"""Compares two to four models row by row, and marks the lowest and the highest where one is better. Pure."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from router.catalogue.cost import cost_of
from router.catalogue.values import CatalogueRow

AT_LEAST, AT_MOST = 2, 4


class Mark(StrEnum):
    """The sign at a cell, with its word."""

    NONE = ""
    LOWEST = "lowest"
    HIGHEST = "highest"


class Unit(StrEnum):
    """How a number is written."""

    NANO_USD = "nano_usd"
    COUNT = "count"
    MILLISECONDS = "ms"
    SHARE = "share"
    SCORE = "score"


class Cell(msgspec.Struct, frozen=True):
    """One model's value in a row: a number with its unit, or words. Both empty: not known."""

    number: float | None = None
    words: str = ""
    mark: Mark = Mark.NONE
    note: str = ""


class Line(msgspec.Struct, frozen=True):
    """A row of the comparison."""

    name: str
    unit: Unit
    cells: tuple[Cell, ...]


class Group(msgspec.Struct, frozen=True):
    """Rows that belong together: cost, shape, quality, speed, legal."""

    name: str
    lines: tuple[Line, ...]


class Comparison(msgspec.Struct, frozen=True):
    """All of it. ``share_space``: vectors of all can be compared with each other."""

    groups: tuple[Group, ...]
    share_space: bool
    switch: str


def compare(rows: Sequence[CatalogueRow], tokens: int) -> Comparison:
    """The comparison of these models; ``tokens`` a month are the reader's."""
    share = len({row.space for row in rows}) == 1
    return Comparison(
        (
            Group("Cost", tuple(_cost(rows, tokens))),
            Group("Shape", tuple(_shape(rows))),
            Group("Quality", tuple(_quality(rows))),
            Group("Speed", tuple(_speed(rows))),
            Group("Legal", tuple(_legal(rows))),
        ),
        share,
        "Their vectors can be compared with each other: an index can be searched with any of them."
        if share
        else "Their vectors cannot be compared with each other: to switch, embed all documents anew.",
    )


def _cost(rows: Sequence[CatalogueRow], tokens: int) -> Iterable[Line]:
    estimates = ["estimate" if row.is_estimate else "" for row in rows]
    yield _line("List price per 1M tokens", Unit.NANO_USD, rows, lambda row: row.shown_nano, Mark.LOWEST, estimates)
    alike = ["as list" if row.batch_nano is None and row.price_nano is not None else "" for row in rows]
    yield _line("Batch price per 1M tokens", Unit.NANO_USD, rows, lambda row: row.paid_batch_nano, Mark.LOWEST, alike)
    yield _line(
        f"{tokens:,} tokens a month",
        Unit.NANO_USD,
        rows,
        lambda row: cost_of(tokens, row.shown_nano, row.batch_nano).list_nano,
        Mark.LOWEST,
        estimates,
    )


def _shape(rows: Sequence[CatalogueRow]) -> Iterable[Line]:
    yield _line("Dimensions", Unit.COUNT, rows, lambda row: row.dimensions, Mark.LOWEST)
    yield _words("Shortens to", rows, lambda row: ", ".join(map(str, row.widths)) or "no")
    yield _line("Input limit, tokens", Unit.COUNT, rows, lambda row: row.input_tokens, Mark.HIGHEST)
    yield _line("Parameters", Unit.COUNT, rows, lambda row: row.parameters)
    yield _words("Languages", rows, lambda row: row.languages)


def _quality(rows: Sequence[CatalogueRow]) -> Iterable[Line]:
    names = {row.benchmark.name for row in rows if row.benchmark is not None}
    for name in sorted(names):
        found = [row.benchmark if row.benchmark is not None and row.benchmark.name == name else None for row in rows]
        notes = ["" if one is None else f"{one.source}, {one.stated_on.isoformat()}" for one in found]
        values = dict(zip([row.id for row in rows], found, strict=True))
        yield _line(
            name,
            Unit.SCORE,
            rows,
            lambda row, values=values: None if (one := values[row.id]) is None else float(one.value),  # type: ignore[misc]
            Mark.HIGHEST,
            notes,
        )
    if not names:
        yield _words("Benchmark", rows, lambda row: "")


def _speed(rows: Sequence[CatalogueRow]) -> Iterable[Line]:
    yield _line("p50 of the last day", Unit.MILLISECONDS, rows, lambda row: row.figures.p50_ms, Mark.LOWEST)
    yield _line("p95 of the last day", Unit.MILLISECONDS, rows, lambda row: row.figures.p95_ms, Mark.LOWEST)
    yield _line("Availability, 7 days", Unit.SHARE, rows, lambda row: row.figures.availability_7d, Mark.HIGHEST)
    yield _line("Providers", Unit.COUNT, rows, lambda row: len(row.providers), Mark.HIGHEST)


def _legal(rows: Sequence[CatalogueRow]) -> Iterable[Line]:
    yield _words("License", rows, lambda row: row.chip.value)


def _line(
    name: str,
    unit: Unit,
    rows: Sequence[CatalogueRow],
    value: Callable[[CatalogueRow], float | None],
    best: Mark = Mark.NONE,
    notes: Sequence[str] = (),
) -> Line:
    values = [value(row) for row in rows]
    known = [one for one in values if one is not None]
    # Where all are alike none is the lowest.
    extreme: Final = {Mark.LOWEST: min, Mark.HIGHEST: max}.get(best) if len(set(known)) > 1 else None
    wanted = None if extreme is None else extreme(known)
    return Line(
        name,
        unit,
        tuple(
            Cell(one, mark=best if one is not None and one == wanted else Mark.NONE, note=notes[at] if notes else "")
            for at, one in enumerate(values)
        ),
    )


def _words(name: str, rows: Sequence[CatalogueRow], value: Callable[[CatalogueRow], str]) -> Line:
    return Line(name, Unit.COUNT, tuple(Cell(words=value(row)) for row in rows))
