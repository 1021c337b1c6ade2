"""Lists which models accounts want, the most wanted first, beside what those accounts spend."""

from datetime import datetime
from typing import ClassVar

import msgspec

from web.answers import Crumb, Page
from web.ops.lists import all_of
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.request import PageRequest

HEAD = (
    Column("Model"),
    Column("Votes", is_number=True),
    Column("Voters' spend", "USD, 30 days", is_number=True),
    Column("Newest"),
    Column("Notes"),
)


class VoteRow(msgspec.Struct, frozen=True):
    """A model with its votes; ``notes`` are outsiders' texts."""

    model: str
    status: str
    votes: int
    spent_usd: str
    newest_at: datetime
    notes: list[str]


class VotesPage(Page, frozen=True, kw_only=True):
    """The list."""

    template: ClassVar[str] = "ops/votes.html"

    rows: tuple[VoteRow, ...]
    head: tuple[Column, ...] = HEAD


async def show(request: PageRequest) -> VotesPage:
    """Models with votes, the most wanted first."""
    rows = await all_of(request, "admin_list_votes", VoteRow)
    return VotesPage(
        title="Votes",
        crumbs=(OPERATIONS, Crumb("Votes")),
        rows=tuple(sorted(rows, key=lambda row: (-row.votes, row.model))),
    )
