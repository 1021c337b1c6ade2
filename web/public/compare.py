"""Compares two to four models: cost, shape, quality, speed, legal; the address is the state."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from router.catalogue.comparison import AT_LEAST, AT_MOST, Comparison, compare
from router.catalogue.values import CatalogueRow
from store.ids import ModelId
from web.answers import Crumb, Page
from web.faults import InvalidInput, PageFault
from web.fields import shown
from web.parts.tables import Column, address
from web.public.models import listing_of
from web.public.scatter import Dot, Scatter, scatter
from web.request import PageRequest


class CompareQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the address says: models by id or alias, and the reader's tokens a month."""

    m: tuple[str, ...] = ()
    tokens: Annotated[int, Meta(ge=0, le=10**15)] = 50_000_000


class Heading(msgspec.Struct, frozen=True):
    """A column: the model, and the address without it."""

    row: CatalogueRow
    without: str


class ComparePage(Page, frozen=True, kw_only=True):
    """The comparison; ``comparison``: None where fewer than two models are asked for."""

    template: ClassVar[str] = "public/compare.html"

    query: CompareQuery
    headings: tuple[Heading, ...]
    head: tuple[Column, ...]
    comparison: Comparison | None
    plot: Scatter | None
    dots: tuple[Dot, ...]
    names: tuple[str, ...]
    can_add: bool


async def show(request: PageRequest) -> ComparePage:
    """Compare the models that the address names."""
    query = request.query_as(CompareQuery)
    listing = await listing_of(request)
    rows = _rows(request, query, {row.id: row for row in listing.rows})
    if len(rows) > AT_MOST:
        raise InvalidInput(f"At most {AT_MOST} models are compared; the address has {len(rows)}.", "m")
    pairs = [("m", row.id) for row in rows]
    others = (("tokens", str(query.tokens)),)
    headings = tuple(
        Heading(row, address("/compare", (*(one for one in pairs if one[1] != row.id), *others))) for row in rows
    )
    dots = tuple(
        Dot(row.name, row.shown_nano, row.score, row.is_estimate)
        for row in rows
        if row.shown_nano is not None and row.score is not None
    )
    return ComparePage(
        title="Compare",
        description="Models side by side: cost, shape, quality, speed, and what their licenses permit.",
        canonical=address("/compare", tuple(pairs)),
        crumbs=(Crumb("Models", "/models"), Crumb("Compare")),
        query=query,
        headings=headings,
        head=(Column("Model"), *(Column(row.name) for row in rows)),
        comparison=compare(rows, query.tokens) if len(rows) >= AT_LEAST else None,
        plot=scatter(dots) if len(dots) >= AT_LEAST else None,
        dots=dots,
        names=tuple(row.id for row in listing.rows),
        can_add=len(rows) < AT_MOST,
    )


def _rows(request: PageRequest, query: CompareQuery, known: dict[ModelId, CatalogueRow]) -> list[CatalogueRow]:
    """The rows in the order of the address, each once."""
    catalog = request.context.reads.catalog
    found: dict[ModelId, CatalogueRow] = {}
    for name in query.m:
        model = catalog.get(name)
        if model is None:
            nearest = catalog.nearest(name)
            remedy = f"Did you mean {' or '.join(nearest)}?" if nearest else "Choose one from the list of models."
            sentence = f"There is no model {shown(name)} in the catalogue."
            raise PageFault(404, "model_not_found", sentence, param="m", remedy=remedy)
        found[model.id] = known[model.id]
    return list(found.values())
