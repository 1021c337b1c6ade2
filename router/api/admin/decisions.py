"""``/admin/v1/decisions``: what may be done with a model, and why not, by the rules that every call is asked by."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field

from catalog.permit import decide, may_charge
from catalog.values import Use
from router.api.admin.references import model_of
from router.api.admin.request import Read
from router.api.fields import ModelRef
from router.api.forms import Answer, Page, PageQuery, answer_of
from router.api.operation import ALL, V1, Operations

operations = Operations("decisions", f"{V1}/decisions", tag="Licenses")


class DecisionOut(Answer):
    """What may be done with a model, and why not: one for each use, and one for charging."""

    columns: ClassVar[tuple[str, ...]] = ("what", "allowed", "license", "reasons", "lifted_by")

    what: str = Field(description="The use, or charging.")
    allowed: bool
    license: str
    reasons: tuple[str, ...]
    lifted_by: str
    object: Literal["decision"] = "decision"


class DecisionQuery(PageQuery):
    """About which model; there are so few decisions that one page has them all."""

    model: ModelRef = Field(description="The model, by id or alias.")


@operations.get("", verb="list", summary="What may be done", roles=ALL)
async def list_(admin: Read, query: Annotated[DecisionQuery, Query()]) -> Page[DecisionOut]:
    """For each use, and for charging: allowed or not, why, and what would lift it. Needs ``model``."""
    now = admin.exchange.now
    model = await admin.read(lambda connection: model_of(connection, query.model))
    decisions = {use.value: decide(model, use, frozenset(), now) for use in Use} | {"charging": may_charge(model, now)}
    return Page[DecisionOut](data=[answer_of(DecisionOut, one, what=what) for what, one in decisions.items()])
