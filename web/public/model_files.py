"""The catalogue as JSON and CSV, by the same filters as the page, and its changes as an Atom feed."""

from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import msgspec

from billing.money import to_usd
from router.api.spreadsheet import csv_text
from router.catalogue.memory import Listing
from router.catalogue.values import CatalogueRow
from router.registry.model_changes import ChangeKind, ModelChange, list_model_changes
from web.answers import File
from web.public.models import ModelsQuery, listing_of, rows_for, search_of
from web.request import PageRequest

ATOM = "http://www.w3.org/2005/Atom"
# The columns of the CSV, which are the fields of the JSON.
NAMES = (
    *("id", "owned_by", "status", "usd_per_mtok", "batch_usd_per_mtok", "estimated_usd_per_mtok", "estimate_source"),
    *("dimensions", "shortens_to", "max_input_tokens", "languages", "language_codes", "parameters"),
    *("benchmark", "score", "score_source", "score_stated_on", "p50_ms", "p95_ms", "availability_24h"),
    *(
        "availability_7d",
        "providers",
        "regions",
        "license_in_words",
        "votes",
        "published_on",
        "space",
        "url",
        "summary",
    ),
)
FED = frozenset({ChangeKind.ADDED, ChangeKind.STATUS, ChangeKind.PRICE})


async def show_json(request: PageRequest) -> File:
    """The models that the address asks for, as JSON."""
    rows, listing = await _rows(request)
    found = {
        "object": "list",
        "data": [facts_of(row) for row in rows],
        "as_of": listing.made_at,
        "figures_as_of": listing.figures_as_of,
        "figures_late": listing.are_figures_late,
    }
    return File(body=msgspec.json.encode(found), media="application/json")


async def show_csv(request: PageRequest) -> File:
    """The models that the address asks for, as CSV in which no cell is a formula."""
    rows, _ = await _rows(request)
    found = [facts_of(row) for row in rows]
    text = csv_text(NAMES, ([_cell(one[name]) for name in NAMES] for one in found))
    return File(body=text.encode(), media="text/csv; charset=utf-8", name="models.csv")


async def show_atom(request: PageRequest) -> File:
    """Launches, prices and retirements of the models that the address asks for, the newest first."""
    base = request.context.origins.public
    rows, listing = await _rows(request)
    some = None if len(rows) == len(listing.rows) else {row.id for row in rows}
    search = search_of(request)
    async with request.context.reads.db.transaction() as connection:
        changes = await list_model_changes(connection, models=some, kinds=FED)
    now = request.exchange.now
    seen = [change for change in changes if change.at <= now]
    feed = ET.Element("feed", xmlns=ATOM)
    _text(feed, "title", "Changes of models")
    _text(feed, "id", f"{base}/models.atom{search}")
    _text(feed, "updated", _iso(seen[0].at if seen else now))
    ET.SubElement(feed, "link", rel="self", href=f"{base}/models.atom{search}")
    ET.SubElement(feed, "link", rel="alternate", href=f"{base}/models{search}")
    ET.SubElement(ET.SubElement(feed, "author"), "name").text = "gigarouter"
    for change in changes:
        _entry(feed, change, base)
    body = b'<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(feed, encoding="unicode").encode()
    return File(body=body, media="application/atom+xml; charset=utf-8")


def _entry(feed: ET.Element, change: ModelChange, base: str) -> None:
    entry = ET.SubElement(feed, "entry")
    _text(entry, "title", f"{change.model_id}: {change.sentence}")
    _text(entry, "id", f"{base}/models/{change.model_id}#{change.id}")
    _text(entry, "updated", _iso(change.at))
    ET.SubElement(entry, "category", term=change.kind.value)
    ET.SubElement(entry, "link", rel="alternate", href=f"{base}/models/{change.model_id}")
    _text(entry, "summary", f"{change.sentence} From {_iso(change.at)} on.")


def _text(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


async def _rows(request: PageRequest) -> tuple[tuple[CatalogueRow, ...], Listing]:
    query, listing = request.query_as(ModelsQuery), await listing_of(request)
    return await rows_for(request, query, listing), listing


def _usd(nano: int | None) -> str | None:
    return None if nano is None else to_usd(nano)


def _cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else value


def facts_of(row: CatalogueRow) -> dict[str, Any]:
    """A row as programs read it; null is not known. Amounts are USD per million tokens, as text."""
    benchmark, figures, estimate = row.benchmark, row.figures, row.estimate
    return {
        "id": row.id,
        "owned_by": row.owner,
        "status": row.status.value,
        "summary": row.summary,
        "usd_per_mtok": _usd(row.price_nano),
        "batch_usd_per_mtok": _usd(row.paid_batch_nano),
        "estimated_usd_per_mtok": None if estimate is None else to_usd(estimate.nano_per_mtok),
        "estimate_source": estimate and estimate.source,
        "dimensions": row.dimensions,
        "shortens_to": list(row.widths),
        "max_input_tokens": row.input_tokens,
        "languages": row.languages,
        "language_codes": list(row.lang),
        "parameters": row.parameters,
        "benchmark": benchmark and benchmark.name,
        "score": benchmark and benchmark.value,
        "score_source": benchmark and benchmark.source,
        "score_stated_on": benchmark and benchmark.stated_on.isoformat(),
        "p50_ms": figures.p50_ms,
        "p95_ms": figures.p95_ms,
        "availability_24h": figures.availability_24h,
        "availability_7d": figures.availability_7d,
        "providers": list(row.providers),
        "regions": list(row.regions),
        "license_in_words": row.chip.value,
        "votes": row.votes,
        "published_on": row.published_on and row.published_on.isoformat(),
        "space": row.space,
        "url": f"/models/{row.id}",
    }
