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
    words = wanted.q.casefold().split()
    return [row for row in rows if _fits(row, wanted) and all(word in _searched(row) for word in words)]


def _searched(row: CatalogueRow) -> str:
    return " ".join((row.id, *row.aliases, row.owner, row.languages, *row.lang)).casefold()


def _fits(row: CatalogueRow, wanted: CatalogueFilter) -> bool:
    figures = row.figures
    availability = None if figures.availability_7d is None else figures.availability_7d * 100
    nano_max = None if wanted.price_max is None else round(wanted.price_max * 10**9)
    parameters_max = None if wanted.size_max is None else wanted.size_max * 10**6
    return (
        (not wanted.status or row.status in {STANDINGS[one] for one in wanted.status})
        and (not wanted.license or row.chip in {CHIPS[one] for one in wanted.license})
        and (not wanted.lang or _speaks(row, wanted.lang))
        and (not wanted.owner or wanted.owner.casefold() == row.owner.casefold())
        and (not wanted.provider or wanted.provider in row.providers)
        and (not wanted.region or wanted.region in row.regions)
        and (not wanted.shortens or row.shortens)
        and _at_most(row.dimensions, wanted.dims_max)
        and _at_most(row.shown_nano, nano_max)
        and _at_most(row.parameters, parameters_max)
        and _at_most(figures.p50_ms, wanted.p50_max)
        and _at_least(row.input_tokens, wanted.input_min)
        and _at_least(row.score, wanted.score_min)
        and _at_least(availability, wanted.availability_min)
        and _at_least(len(row.providers), wanted.providers_min)
        and _at_least(row.votes, wanted.votes_min)
    )


def _speaks(row: CatalogueRow, wanted: str) -> bool:
    """Whether a language is among those that are known: ``zh`` is ``zh-Hans``, too."""
    code = wanted.casefold()
    return any(known.casefold() == code or known.casefold().startswith(f"{code}-") for known in row.lang)


def _at_most(value: float | None, most: float | None) -> bool:
    return most is None or (value is not None and value <= most)


def _at_least(value: float | None, least: float | None) -> bool:
    return least is None or (value is not None and value >= least)


_ORDER: Final = {standing: place for place, standing in enumerate(Standing)}
_CHIP_ORDER: Final = {chip: place for place, chip in enumerate(Chip)}
# What each column is sorted by; None: not known.
KEYS: Final[Mapping[str, Callable[[CatalogueRow], str | float | None]]] = {
    "model": lambda row: row.id.casefold(),
    "status": lambda row: _ORDER[row.status],
    "price": lambda row: row.shown_nano,
    "batch": lambda row: row.batch_nano,
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
