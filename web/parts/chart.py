"""Draws stacked bars and lines as SVG paths, one per series, at most 120 buckets. Pure.

No style attributes: a series has a class, by which the style sheet gives it colour and pattern. What is drawn is also
in the page's table: both are made from the same numbers. How high a number stands says :mod:`web.parts.axis`.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from web.parts.axis import Axis, Linear, axis_of

BUCKETS_MAX = 120
SERIES_MAX = 6
WIDTH, HEIGHT = 960, 240
LEFT, BOTTOM, TOP = 64, 24, 8


class Series(msgspec.Struct, frozen=True):
    """One line or layer: its name, and a number per bucket; None where nothing is known."""

    name: str
    values: tuple[int | float | None, ...]


class Level(msgspec.Struct, frozen=True):
    """A line across the chart, such as a threshold."""

    name: str
    value: float


class Event(msgspec.Struct, frozen=True):
    """What happened in a bucket: a line down the chart."""

    name: str
    bucket: int


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart's values. ``labels``: a name per bucket. A level and an event stand in words beside it, too.

    ``scale``: lines of numbers that differ by powers of ten are told apart on a logarithmic axis alone.
    """

    title: str
    unit: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    kind: Literal["bars", "lines"] = "bars"
    scale: Literal["linear", "log"] = "linear"
    levels: tuple[Level, ...] = ()
    events: tuple[Event, ...] = ()


class Tick(msgspec.Struct, frozen=True):
    """A label of an axis and where it stands."""

    at: float
    text: str


class Path(msgspec.Struct, frozen=True):
    """A series as it is drawn; ``number`` is its class, ``values`` are its numbers for the reader's pointer."""

    name: str
    number: int
    d: str
    values: str


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """What the template writes."""

    width: int
    height: int
    left: int
    baseline: float
    paths: tuple[Path, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    levels: tuple[Tick, ...] = ()
    events: tuple[Tick, ...] = ()


def draw(chart: Chart) -> Drawing:
    """The paths and ticks of a chart."""
    count = len(chart.labels)
    assert count <= BUCKETS_MAX, "a chart has at most 120 buckets; this is a bug"
    assert len(chart.series) <= SERIES_MAX, "a chart has at most 6 series; this is a bug"
    assert chart.kind == "lines" or chart.scale == "linear", "stacked bars have a linear axis; this is a bug"
    axis = axis_of(_drawn(chart)) if chart.scale == "log" else Linear(_round_up(_largest(chart)))
    step = (WIDTH - LEFT) / max(1, count)
    paths = _bars(chart, axis, step) if chart.kind == "bars" else _lines(chart, axis, step)
    every = max(1, -(-count // 8))
    across = tuple(Tick(round(LEFT + step * (at + 0.5), 1), chart.labels[at]) for at in range(0, count, every))
    up = tuple(Tick(round(_at(share), 1), text) for share, text in axis.ticks())
    baseline = float(HEIGHT - BOTTOM)
    return Drawing(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        baseline=baseline,
        paths=tuple(paths),
        across=across,
        up=up,
        levels=tuple(Tick(round(_y(level.value, axis), 1), level.name) for level in chart.levels),
        events=tuple(Tick(round(LEFT + step * (event.bucket + 0.5), 1), event.name) for event in chart.events),
    )


def _largest(chart: Chart) -> float:
    level = max((level.value for level in chart.levels), default=0.0)
    if chart.kind == "lines":
        return max(level, max((value or 0 for series in chart.series for value in series.values), default=0))
    sums = (sum(series.values[at] or 0 for series in chart.series) for at in range(len(chart.labels)))
    return max(level, max(sums, default=0))


def _round_up(value: float) -> float:
    """The next of 1, 1.6, 2, 3, 4, 6, 8 times a power of ten, so that ticks are round."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(f"{value:.0f}") - 1) if value >= 1 else 10.0 ** -len(f"{1 / value:.0f}")
    return next(power * factor for factor in (1, 1.6, 2, 3, 4, 6, 8, 10, 20, 40, 100) if power * factor >= value)


def _drawn(chart: Chart) -> list[float]:
    """Every number that is drawn, and every level."""
    numbers = (value for series in chart.series for value in series.values if value is not None)
    return [*numbers, *(level.value for level in chart.levels)]


def _at(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share


def _y(value: float, axis: Axis) -> float:
    return _at(axis.share(value))


def _bars(chart: Chart, axis: Axis, step: float) -> Sequence[Path]:
    below = [0.0] * len(chart.labels)
    gap = min(2.0, step * 0.15)
    paths = []
    for number, series in enumerate(chart.series, 1):
        d = []
        for at, value in enumerate(series.values):
            if value:
                base, tip = _y(below[at], axis), _y(below[at] + value, axis)
                d.append(f"M{LEFT + step * at + gap / 2:.1f} {base:.1f}V{tip:.1f}h{step - gap:.1f}V{base:.1f}z")
                below[at] += value
        paths.append(Path(series.name, number, "".join(d), _values(series)))
    return paths


def _lines(chart: Chart, axis: Axis, step: float) -> Sequence[Path]:
    paths = []
    for number, series in enumerate(chart.series, 1):
        d, is_open = [], False
        following = (*series.values[1:], None)
        for at, (value, after) in enumerate(zip(series.values, following, strict=True)):
            if value is None:
                is_open = False
                continue
            d.append(f"{'L' if is_open else 'M'}{LEFT + step * (at + 0.5):.1f} {_y(value, axis):.1f}")
            if not is_open and after is None:
                # A number between two that are unknown is no line yet: it is drawn as a dash.
                d.append("m-2 0h4")
            is_open = True
        paths.append(Path(series.name, number, "".join(d), _values(series)))
    return paths


def _values(series: Series) -> str:
    return "|".join("" if value is None else f"{value:.10g}" for value in series.values)
