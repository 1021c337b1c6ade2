"""Shows vector spaces: who vouches for each, and how far its endpoints drifted, as a chart and as its table."""

from datetime import datetime, timedelta
from typing import ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Crumb, Page
from web.faults import NotFound
from web.forms import Form
from web.ops.lists import Listed, cursor_of, next_page
from web.ops.write import OPERATIONS
from web.parts.chart import BUCKETS_MAX, Chart, Event, Level, Series
from web.parts.tables import Column
from web.request import PageRequest

SPACES = Crumb("Vector spaces", "/ops/spaces")
HEAD = (
    Column("Space"),
    Column("Models"),
    Column("Endpoints", is_number=True),
    Column("Live", is_number=True),
    Column("Quarantined", is_number=True),
    Column("Distance", "of the last checks", is_number=True),
    Column("Allowed", "1 - cosine", is_number=True),
)
ENDPOINTS_HEAD = (
    Column("Endpoint"),
    Column("State"),
    Column("Last check"),
    Column("Found"),
    Column("Worst text", "1 - cosine", is_number=True),
    Column("Middle text", "1 - cosine", is_number=True),
)
POINTS_HEAD = (
    Column("From"),
    Column("Endpoint"),
    Column("Checks", is_number=True),
    Column("Failed", is_number=True),
    Column("Worst text", "1 - cosine", is_number=True),
    Column("Middle text", "1 - cosine", is_number=True),
)
QUARANTINES_HEAD = (Column("When"), Column("Endpoint"), Column("Cause"), Column("Why"))
SPANS = (("1", "a day"), ("7", "7 days"), ("30", "30 days"), ("90", "90 days"))
# A chart has six series; of more endpoints those with the largest distances are drawn.
DRAWN_MAX = 6


class SpaceRow(msgspec.Struct, frozen=True):
    """A space as the list answers it."""

    space: str
    models: list[str]
    endpoints: int
    live: int
    quarantined: int
    worst: float | None
    threshold_worst: float


class Served(msgspec.Struct, frozen=True):
    """An endpoint of a space with its last check."""

    id: str
    model: str
    provider_name: str
    state: str
    reason: str
    checked_at: datetime | None
    verdict: str | None
    worst: float | None
    typical: float | None


class Point(msgspec.Struct, frozen=True):
    """An endpoint's checks in one part of the span."""

    endpoint: str
    at: datetime
    probes: int
    failed: int
    worst: float | None
    typical: float | None


class Quarantine(msgspec.Struct, frozen=True):
    """When and why an endpoint was taken out of traffic."""

    endpoint: str
    at: datetime
    cause: str | None
    reason: str


class Space(msgspec.Struct, frozen=True):
    """A space with its drift."""

    space: str
    models: list[str]
    numerics: str
    reference: str | None
    recorded_at: datetime | None
    threshold_worst: float
    threshold_typical: float
    since: datetime
    width_s: int
    served: list[Served]
    points: list[Point]
    quarantines: list[Quarantine]


class SpacesPage(Page, frozen=True, kw_only=True):
    """The list."""

    template: ClassVar[str] = "ops/spaces.html"

    rows: list[SpaceRow]
    head: tuple[Column, ...] = HEAD
    next_href: str | None


class SpacePage(Page, frozen=True, kw_only=True):
    """A space. ``names``: what its endpoints are called, by id; ``not_drawn``: how many the chart leaves out."""

    template: ClassVar[str] = "ops/space.html"

    space: Space
    names: dict[str, str]
    form: Form
    endpoints: tuple[tuple[str, str], ...]
    chart: Chart
    not_drawn: int
    spans: tuple[tuple[str, str], ...] = SPANS
    endpoints_head: tuple[Column, ...] = ENDPOINTS_HEAD
    points_head: tuple[Column, ...] = POINTS_HEAD
    quarantines_head: tuple[Column, ...] = QUARANTINES_HEAD

    def name_of(self, endpoint: str) -> str:
        """What an endpoint is called."""
        return self.names.get(endpoint, endpoint)


class SpacesQuery(msgspec.Struct, frozen=True):
    """Which part of the list."""

    cursor: str = ""


class SpaceQuery(msgspec.Struct, frozen=True):
    """Over which time, and of which endpoint."""

    days: Literal["1", "7", "30", "90"] = "30"
    endpoint: str = ""


async def show(request: PageRequest) -> SpacesPage:
    """All vector spaces by name."""
    request.query_as(SpacesQuery)
    listed = (await request.run("list_spaces", Listed[SpaceRow], query=cursor_of(request, limit=50))).value
    return SpacesPage(
        title="Vector spaces",
        crumbs=(OPERATIONS, Crumb("Vector spaces")),
        rows=listed.data,
        next_href=next_page(request, listed),
    )


async def show_one(request: PageRequest) -> SpacePage:
    """A space with its chart."""
    query = request.query_as(SpaceQuery)
    path = {"space": request.values["space"]}
    which: dict[str, str] = {"days": query.days} | ({"endpoint": query.endpoint} if query.endpoint else {})
    try:
        space = (await request.run("retrieve_space", Space, path=path, query=which)).value
    except OperationRefused as refused:
        if refused.status in (400, 404):
            raise NotFound from None
        raise
    names = {one.id: f"{one.model} at {one.provider_name}" for one in space.served}
    drawn = _drawn(space)
    return SpacePage(
        title=space.space,
        crumbs=(OPERATIONS, SPACES, Crumb(space.space)),
        space=space,
        names=names,
        form=Form({"days": query.days, "endpoint": query.endpoint}),
        endpoints=(("", "all"), *names.items()),
        chart=_chart(space, names, drawn),
        not_drawn=len(names) - len(drawn),
    )


def _drawn(space: Space) -> list[str]:
    """The endpoints of the chart: those with the largest distances."""
    worst = {one.id: 0.0 for one in space.served}
    for point in space.points:
        worst[point.endpoint] = max(worst[point.endpoint], point.worst or 0.0)
    return sorted(worst, key=lambda endpoint: -worst[endpoint])[:DRAWN_MAX]


def _chart(space: Space, names: dict[str, str], drawn: list[str]) -> Chart:
    width = timedelta(seconds=space.width_s)
    values: dict[str, list[float | None]] = {endpoint: [None] * BUCKETS_MAX for endpoint in drawn}
    for point in space.points:
        if point.endpoint in values:
            values[point.endpoint][_bucket(point.at, space)] = point.worst
    events = [Event(_said(one, names), _bucket(one.at, space)) for one in space.quarantines if one.endpoint in values]
    return Chart(
        title="Distance from the reference",
        unit="1 - cosine of the worst text, on a logarithmic axis",
        labels=tuple(f"{space.since + at * width:%m-%d %H:%M}" for at in range(BUCKETS_MAX)),
        series=tuple(Series(names[endpoint], tuple(values[endpoint])) for endpoint in drawn),
        kind="lines",
        scale="log",
        levels=(Level(f"allowed {space.threshold_worst:g}", space.threshold_worst),),
        events=tuple(events),
    )


def _said(one: Quarantine, names: dict[str, str]) -> str:
    return f"{names[one.endpoint]} quarantined {one.at:%Y-%m-%d %H:%M}: {one.reason}"


def _bucket(at: datetime, space: Space) -> int:
    return min(BUCKETS_MAX - 1, max(0, int((at - space.since).total_seconds() // space.width_s)))
