"""Lists models for operators: license, what their entries lack, texts, endpoints, price and votes.

All of it is this process's memory, so that a thousand models cost no statement.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from catalog.descriptions import Section
from catalog.values import Model, Status
from catalog.verdict import Chip, chip_of
from router.catalogue.filters import CHIPS, LicenseFilter
from router.catalogue.gaps import missing_facts, missing_sections, old_facts
from router.values import EndpointState
from web.answers import Crumb, Page
from web.forms import Form
from web.ops.write import OPERATIONS
from web.parts.tables import Column, Sorting, address, sorting
from web.request import PageRequest

ROWS: Final = 100
SECTIONS: Final = len(Section)
HEAD = (
    Column("Model", key="model"),
    Column("Status", key="status"),
    Column("License", key="license"),
    Column("Lacks", key="lacks"),
    Column("Old sources", key="old"),
    Column("Texts", f"of {SECTIONS} sections", is_number=True, key="texts"),
    Column("Endpoints", "live of all", is_number=True, key="endpoints"),
    Column("Price", "$ per 1M tokens", is_number=True, key="price"),
    Column("Votes", is_number=True, key="votes"),
)
# fmt: off
Sort: TypeAlias = Literal[
    "model", "-model", "status", "-status", "license", "-license", "lacks", "-lacks", "old", "-old", "texts", "-texts",
    "endpoints", "-endpoints", "price", "-price", "votes", "-votes",
]
# fmt: on
StatusFilter: TypeAlias = Literal["coming_soon", "live", "deprecated", "retired"]
Gap: TypeAlias = Literal["facts", "old", "texts", "endpoints", "price"]
GAPS: Final[tuple[tuple[Gap, str], ...]] = (
    ("facts", "facts that nobody stated"),
    ("old", "sources of late"),
    ("texts", "texts"),
    ("endpoints", "a live endpoint"),
    ("price", "a price"),
)
Text: TypeAlias = Annotated[str, Meta(max_length=200)]


class ModelsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the address asks for: words of id, alias or maker, and what a model lacks. ``page`` counts from 1."""

    q: Text = ""
    status: StatusFilter | Literal[""] = ""
    license: LicenseFilter | Literal[""] = ""
    lacks: Gap | Literal[""] = ""
    sort: Sort = "model"
    page: Annotated[int, Meta(ge=1, le=10_000)] = 1


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the list. ``price_nano``: None where none is in force."""

    id: str
    status: Status
    chip: Chip
    lacks: tuple[str, ...]
    old: tuple[str, ...]
    texts: int
    live: int
    endpoints: int
    price_nano: int | None
    votes: int


class ModelsPage(Page, frozen=True, kw_only=True):
    """The list. ``total`` fit what is asked for."""

    template: ClassVar[str] = "ops/models.html"

    rows: tuple[ModelRow, ...]
    total: int
    head: tuple[Column, ...] = HEAD
    sort: Sorting
    form: Form
    is_filtered: bool
    statuses: tuple[tuple[str, str], ...] = (("", "any"), *((one.value, one.value.replace("_", " ")) for one in Status))
    licenses: tuple[tuple[str, str], ...] = (("", "any"), *((chip.kind, chip.value) for chip in Chip))
    gaps: tuple[tuple[str, str], ...] = (("", "any"), *GAPS)
    next_href: str | None
    first_href: str | None


_ORDER: Final = {status: place for place, status in enumerate(Status)}
_KEYS: Final[Mapping[str, Callable[[ModelRow], float | str]]] = {
    "model": lambda row: row.id.casefold(),
    "status": lambda row: _ORDER[row.status],
    "license": lambda row: row.chip.kind,
    "lacks": lambda row: len(row.lacks),
    "old": lambda row: len(row.old),
    "texts": lambda row: row.texts,
    "endpoints": lambda row: row.live,
    "price": lambda row: -1 if row.price_nano is None else row.price_nano,
    "votes": lambda row: row.votes,
}
_LACKS: Final[Mapping[str, Callable[[ModelRow], bool]]] = {
    "facts": lambda row: bool(row.lacks),
    "old": lambda row: bool(row.old),
    "texts": lambda row: row.texts < SECTIONS,
    "endpoints": lambda row: not row.live,
    "price": lambda row: row.price_nano is None,
}


async def show(request: PageRequest) -> ModelsPage:
    """A page of the models that the address asks for."""
    query, now = request.query_as(ModelsQuery), request.exchange.now
    order = sorting(request.path, request.query, query.sort)
    others = tuple((name, value) for name, value in order.query if name != "page")
    found = [row for model in _searched(request, query.q) if _fits(row := _row(request, model, now), query)]
    found.sort(key=_KEYS["model"])
    found.sort(key=_KEYS[query.sort.removeprefix("-")], reverse=query.sort.startswith("-"))
    start = (query.page - 1) * ROWS
    sorted_by = (*others, ("sort", query.sort))
    return ModelsPage(
        title="Models",
        crumbs=(OPERATIONS, Crumb("Models")),
        rows=tuple(found[start : start + ROWS]),
        total=len(found),
        sort=msgspec.structs.replace(order, query=others),
        form=Form({name: getattr(query, name) for name in ("q", "status", "license", "lacks", "sort")}),
        is_filtered=bool(others),
        next_href=address(request.path, (*sorted_by, ("page", str(query.page + 1))))
        if start + ROWS < len(found)
        else None,
        first_href=address(request.path, sorted_by) if query.page > 1 else None,
    )


def _searched(request: PageRequest, words: str) -> Iterable[Model]:
    wanted = words.casefold().split()
    return (
        model
        for model in request.context.reads.catalog.all()
        if all(word in " ".join((model.id, *model.aliases, model.owned_by)).casefold() for word in wanted)
    )


def _fits(row: ModelRow, query: ModelsQuery) -> bool:
    return (
        query.status in ("", row.status)
        and (not query.license or CHIPS[query.license] is row.chip)
        and (not query.lacks or _LACKS[query.lacks](row))
    )


def _row(request: PageRequest, model: Model, now: datetime) -> ModelRow:
    reads = request.context.reads
    serving, price = reads.endpoints.of_model(model), reads.prices.current(model.id, now)
    return ModelRow(
        id=model.id,
        status=model.status,
        chip=chip_of(model, now),
        lacks=tuple(name.replace("_", " ") for name in missing_facts(model)),
        old=tuple(name.replace("_", " ") for name in old_facts(model, now.date())),
        texts=SECTIONS - len(missing_sections(model)),
        live=sum(one.state is EndpointState.LIVE for one in serving),
        endpoints=len(serving),
        price_nano=None if price is None else price.nano_per_mtok,
        votes=model.votes,
    )
