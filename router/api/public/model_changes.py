"""Serves ``GET /v1/model-changes``: what changed about models, which their pages and the Atom feed show, too."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.fields import Instant, ModelRef
from router.api.forms import Answer, Page, PageQuery, answer_of
from router.api.operation import Operations, Who
from router.api.public.models import find_model
from router.api.public.postgres import read
from router.api.public.request import VisitorPaging
from router.errors import InvalidRequest
from router.registry.model_changes import ChangeKind, list_model_changes

operations = Operations("model-changes", "/v1/model-changes", tag="Models", who=Who.VISITOR)


class ModelChangeOut(Answer):
    """One change of a model."""

    id: str
    at: Instant = Field(description="When; of a price that waits for its day, a time to come.")
    model: str
    kind: ChangeKind
    sentence: str
    object: Literal["model.change"] = "model.change"


class ModelChangeQuery(PageQuery):
    """Which changes."""

    model: ModelRef | None = Field(None, description="Those of this model, by id or alias.")
    kind: tuple[ChangeKind, ...] = Field((), description="added, status, price, facts or license; it may be repeated.")


@operations.get("", verb="list", name="list_model_changes", summary="List changes of models")
async def list_(request: VisitorPaging, query: Annotated[ModelChangeQuery, Query()]) -> Page[ModelChangeOut]:
    """What changed about all models or one, the newest first: launches, prices, retirements, facts, licenses."""
    model = None if query.model is None else find_model(query.model, request.context)

    async def ask(connection: AsyncConnection) -> list[ModelChangeOut]:
        found = await list_model_changes(
            connection,
            model_id=None if model is None else model.id,
            kinds=frozenset(query.kind),
            after=_opened(query.after()),
            limit=query.limit + 1,
        )
        return [answer_of(ModelChangeOut, change, model=change.model_id) for change in found]

    rows = await read(request.context, ask, what="Changes of models")
    return request.paging.page(query, rows, lambda row: f"{row.at.isoformat()} {row.id}")


def _opened(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    at, _, last = cursor.partition(" ")
    try:
        instant = datetime.fromisoformat(at)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None or not last:
        raise InvalidRequest("'cursor' is the next_cursor of the page before.", param="cursor")
    return instant, last
