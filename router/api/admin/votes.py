"""``/admin/v1/votes``: which models accounts want, and what those accounts spend. A vote is a customer's own."""

from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field

from router.admin.votes import list_votes
from router.api.admin.request import Read
from router.api.fields import Instant, Usd
from router.api.forms import Answer, Page, PageQuery, answer_of
from router.api.operation import ALL, V1, Operations

operations = Operations("votes", f"{V1}/votes", tag="Models")


class VotesOut(Answer):
    """A model's votes, one for each account."""

    columns: ClassVar[tuple[str, ...]] = ("model", "status", "votes", "spent_usd", "newest_at")

    model: str
    status: str
    votes: int
    spent_usd: Usd = Field(description="What the accounts that voted were charged in the last 30 days.")
    newest_at: Instant
    notes: tuple[str, ...] = Field(description="The newest notes to the votes: outsiders' texts.")


@operations.get("", verb="list", name="admin_list_votes", summary="List votes", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[VotesOut]:
    """Every model that has a vote, by its id."""
    found = await admin.read(lambda connection: list_votes(connection, admin.exchange.now))
    rows = [answer_of(VotesOut, one, model=one.model_id, spent_usd=one.spent) for one in found]
    return admin.page(query, query.cut(rows, lambda row: row.model), lambda row: row.model)
