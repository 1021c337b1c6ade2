"""Lists what waits at the license desk: models whose sources disagree or say nothing, evidence that nobody has read."""

from datetime import datetime
from typing import ClassVar

import msgspec

from catalog.rulings import needs_a_ruling
from catalog.values import Model
from catalog.verdict import Chip, chip_of
from web.answers import Crumb, Page
from web.ops.lists import all_of
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.request import PageRequest

LICENSES = Crumb("Licenses", "/ops/licenses")


class LicensesQuery(msgspec.Struct, frozen=True):
    """``all``: those that need no ruling, too."""

    all: bool = False


class ModelRow(msgspec.Struct, frozen=True):
    """A model at the desk."""

    id: str
    status: str
    chip: Chip
    claims: tuple[str, ...]
    votes: int
    waits: bool


class Evidence(msgspec.Struct, frozen=True):
    """What a customer sent: an outsider's words and link."""

    id: str
    model: str
    account: str
    body: str
    link: str
    sent_at: datetime
    state: str
    note: str


class LicensesPage(Page, frozen=True, kw_only=True):
    """The desk."""

    template: ClassVar[str] = "ops/licenses.html"

    rows: tuple[ModelRow, ...]
    evidence: list[Evidence]
    shows_all: bool
    head: tuple[Column, ...] = (
        Column("Model"),
        Column("License"),
        Column("What sources say"),
        Column("Status"),
        Column("Votes", is_number=True),
    )


async def show(request: PageRequest) -> LicensesPage:
    """The desk; live models first, then those that most want."""
    query, now = request.query_as(LicensesQuery), request.exchange.now
    rows = [_row(model, now) for model in request.context.reads.catalog.all()]
    rows = [row for row in rows if row.waits or query.all]
    evidence = await all_of(request, "list_evidence", Evidence, {"state": "open"})
    return LicensesPage(
        title="License desk",
        crumbs=(OPERATIONS, Crumb("Licenses")),
        rows=tuple(sorted(rows, key=lambda row: (row.status != "live", -row.votes, row.id))),
        evidence=evidence,
        shows_all=query.all,
    )


def _row(model: Model, now: datetime) -> ModelRow:
    return ModelRow(
        id=model.id,
        status=model.status.value.replace("_", " "),
        chip=chip_of(model, now),
        claims=tuple(f"{claim.license} ({claim.source})" for claim in model.claims),
        votes=model.votes,
        waits=needs_a_ruling(model),
    )
