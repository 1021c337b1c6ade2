"""Shows every part in every state at ``/-/parts``, in `up` and tests alone: where parts are looked at and checked."""

from datetime import UTC, datetime
from typing import ClassVar

from web.answers import Crumb, Page
from web.forms import Change, Form, Hidden
from web.parts.chart import Chart, Event, Level, Series
from web.parts.licenses import LicenseKind
from web.parts.tables import Column, Sorting, sorting
from web.request import PageRequest

LONG = "a-name-of-eighty-characters-without-any-space-in-it-so-that-nothing-can-be-broken-"
HOSTILE = '<img src=x onerror="alert(1)">\u202egnp.exe \x07'
DAYS = tuple(f"11-{day:02d}" for day in range(1, 31))


class Workshop(Page, frozen=True, kw_only=True):
    """Parts with their states."""

    template: ClassVar[str] = "parts/workshop.html"

    amounts: tuple[int | None, ...] = (
        None,
        0,
        1,
        860_160,
        8_000_000,
        10_000_000,
        1_234_567_890,
        -61_400_000_000,
        123_456_789_012_000_000_000,
    )
    statuses: tuple[str, ...] = (
        "live",
        "degraded",
        "cold",
        "coming soon",
        "down",
        "deprecated",
        "retired",
        "unknown",
        "other",
    )
    licenses: tuple[LicenseKind, ...] = ("commercial", "noncommercial", "conflict", "acceptance", "unknown")
    long: str = LONG
    hostile: str = HOSTILE
    moment: datetime = datetime(2026, 11, 28, 9, 15, tzinfo=UTC)
    form: Form = Form(
        {"name": "ingest-prod", "wrong": "12 apples", "kind": "b", "note": HOSTILE, "yes": "1"},
        {"wrong": "'wrong' is a whole number."},
        "The form as a whole was refused, and what you typed is still here.",
    )
    empty: Form = Form()
    options: tuple[tuple[str, str], ...] = (("a", "One"), ("b", "Another"))
    head: tuple[Column, ...] = (Column("Name", key="name"), Column("Spend", "USD", is_number=True, key="spend"))
    sort: Sorting = sorting("/-/parts", (), "-spend")
    charts: tuple[Chart, ...] = ()
    changes: tuple[Change, ...] = (Change("Price", "0.0100", "0.0120"),)
    hidden: tuple[Hidden, ...] = (Hidden("confirm", "1"),)


async def show(request: PageRequest) -> Workshop:
    """All parts."""
    del request
    names = ("ingest-prod", "search-api", LONG, "السلام", "検索", "other")
    layers = tuple(
        Series(name, tuple(float((at * 7 + number * 13) % 29) for at in range(30))) for number, name in enumerate(names)
    )
    gaps = Series(
        "p95", (*(float(100 + at * 3 % 17) for at in range(12)), None, None, *(90.0 + at for at in range(16)))
    )
    charts = (
        Chart(title="Spend by key", unit="USD", labels=DAYS, series=layers),
        Chart(title="Latency", unit="ms", labels=DAYS, series=(gaps, layers[1]), kind="lines"),
        Chart(
            title="Drift",
            unit="distance",
            labels=DAYS,
            series=(gaps,),
            kind="lines",
            levels=(Level("threshold", 130.0),),
            events=(Event("quarantined", 12),),
        ),
        Chart(
            title="Small drift",
            unit="1 - cosine, on a logarithmic axis",
            labels=DAYS,
            series=(Series("near", (2e-6,) * 30), Series("nearer", (0.0, *(1e-6,) * 29))),
            kind="lines",
            scale="log",
            levels=(Level("allowed", 0.002),),
        ),
        Chart(title="Nothing yet", unit="USD", labels=DAYS, series=(Series("none", (0,) * 30),)),
    )
    return Workshop(title="Parts", crumbs=(Crumb("Workshop"), Crumb("Parts")), charts=charts)
