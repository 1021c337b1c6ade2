"""Chooses rows of the catalogue by what a buyer asks for, and puts them in order. Pure.

What is not known fits no filter that asks for it, and comes last in either order.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from catalog.verdict import Chip
from router.catalogue.values import CatalogueRow, Standing

LicenseFilter: TypeAlias = Literal["commercial", "noncommercial", "conflict", "acceptance", "unknown"]
StatusFilter: TypeAlias = Literal["live", "degraded", "cold", "soon", "deprecated", "retired"]
Text: TypeAlias = Annotated[str, Meta(max_length=200)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]

CHIPS: Final[Mapping[str, Chip]] = {chip.kind: chip for chip in Chip}
STANDINGS: Final[Mapping[str, Standing]] = {
    "soon": Standing.COMING_SOON,
    **{one.value: one for one in Standing if one is not Standing.COMING_SOON},
}


class CatalogueFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; a field that is empty asks for nothing.

    ``q`` is looked for in id, alias, owner and languages; several words must all be there. ``price_max`` is in USD per
    million tokens, ``size_max`` in millions of parameters.
    """

    q: Text = ""
    status: tuple[StatusFilter, ...] = ()
    license: tuple[LicenseFilter, ...] = ()
    lang: Text = ""
    owner: Text = ""
    provider: Text = ""
    region: Text = ""
    dims_max: Count | None = None
    shortens: bool = False
    input_min: Count | None = None
    price_max: Annotated[float, Meta(ge=0, le=9000)] | None = None
    size_max: Count | None = None
    score_min: Annotated[float, Meta(ge=-1e12, le=1e12)] | None = None
    p50_max: Count | None = None
    availability_min: Annotated[float, Meta(ge=0, le=100)] | None = None
    providers_min: Count | None = None
    votes_min: Count | None = None


def matching(rows: Iterable[CatalogueRow], wanted: CatalogueFilter) -> list[CatalogueRow]:
    """The rows that fit, in their order."""
    conditions = [condition for is_wanted, condition in _conditions(wanted) if is_wanted]
    return [row for row in rows if all(fits(row) for fits in conditions)] if conditions else list(rows)


def _searched(row: CatalogueRow) -> str:
    return " ".join((row.id, *row.aliases, row.owner, row.languages, *row.lang)).casefold()


def _conditions(wanted: CatalogueFilter) -> Iterable[tuple[bool, Callable[[CatalogueRow], bool]]]:
    """Whether each field asks for something, and what it asks of a row."""
    words = wanted.q.casefold().split()
    statuses, chips = {STANDINGS[one] for one in wanted.status}, {CHIPS[one] for one in wanted.license}
    return (
        (bool(statuses), lambda row: row.status in statuses),
        (bool(chips), lambda row: row.chip in chips),
        (bool(wanted.lang), lambda row: _speaks(row, wanted.lang)),
        (bool(wanted.owner), lambda row: wanted.owner.casefold() == row.owner.casefold()),
        (bool(wanted.provider), lambda row: wanted.provider in row.providers),
        (bool(wanted.region), lambda row: wanted.region in row.regions),
        (wanted.shortens, lambda row: row.shortens),
        _at_most(wanted.dims_max, lambda row: row.dimensions),
        _at_most(_times(wanted.price_max, 10**9), lambda row: row.shown_nano),
        _at_most(_times(wanted.size_max, 10**6), lambda row: row.parameters),
        _at_most(wanted.p50_max, lambda row: row.figures.p50_ms),
        _at_least(wanted.input_min, lambda row: row.input_tokens),
        _at_least(wanted.score_min, lambda row: row.score),
        _at_least(wanted.availability_min, lambda row: _times(row.figures.availability_7d, 100, is_whole=False)),
        _at_least(wanted.providers_min, lambda row: len(row.providers)),
        _at_least(wanted.votes_min, lambda row: row.votes),
        (bool(words), lambda row: all(word in _searched(row) for word in words)),
    )


def _times(value: float | None, factor: int, *, is_whole: bool = True) -> float | None:
    return None if value is None else round(value * factor) if is_whole else value * factor


def _speaks(row: CatalogueRow, wanted: str) -> bool:
    """Whether a language is among those that are known: ``zh`` is ``zh-Hans``, too."""
    code = wanted.casefold()
    return any(known.casefold() == code or known.casefold().startswith(f"{code}-") for known in row.lang)


def _at_most(
    most: float | None, read: Callable[[CatalogueRow], float | None]
) -> tuple[bool, Callable[[CatalogueRow], bool]]:
    return most is not None, lambda row: (value := read(row)) is not None and most is not None and value <= most


def _at_least(
    least: float | None, read: Callable[[CatalogueRow], float | None]
) -> tuple[bool, Callable[[CatalogueRow], bool]]:
    return least is not None, lambda row: (value := read(row)) is not None and least is not None and value >= least


_ORDER: Final = {standing: place for place, standing in enumerate(Standing)}
_CHIP_ORDER: Final = {chip: place for place, chip in enumerate(Chip)}
# What each column is sorted by; None: not known.
KEYS: Final[Mapping[str, Callable[[CatalogueRow], str | float | None]]] = {
    "model": lambda row: row.id.casefold(),
    "status": lambda row: _ORDER[row.status],
    "price": lambda row: row.shown_nano,
    "batch": lambda row: row.paid_batch_nano,
    "dims": lambda row: row.dimensions,
    "input": lambda row: row.input_tokens,
    "languages": lambda row: len(row.lang) or None,
    "size": lambda row: row.parameters,
    "score": lambda row: row.score,
    "p50": lambda row: row.figures.p50_ms,
    "availability": lambda row: row.figures.availability_7d,
    "providers": lambda row: len(row.providers),
    "license": lambda row: _CHIP_ORDER[row.chip],
    "votes": lambda row: row.votes,
}


def in_order(rows: Iterable[CatalogueRow], by: str, *, is_down: bool = False) -> tuple[CatalogueRow, ...]:
    """The rows by a column, alike ones by id; what is not known comes last in both directions."""
    key = KEYS[by]
    known: list[CatalogueRow] = []
    unknown: list[CatalogueRow] = []
    for row in sorted(rows, key=lambda row: row.id):
        (unknown if key(row) is None else known).append(row)
    known.sort(key=lambda row: key(row) or 0 if by != "model" else key(row), reverse=is_down)  # type: ignore[arg-type, return-value]
    return (*known, *unknown)
