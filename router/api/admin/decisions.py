"""``/admin/v1/decisions``: what may be done with a model, and why not, by the rules that every call is asked by."""

import msgspec
from fastapi import APIRouter, Request, Response

from catalog import models
from catalog.permit import decide, may_charge
from catalog.values import Decision, Use
from router.api.admin.license_records import TAG
from router.api.admin.operation import lists
from router.api.admin.parsing import V1, exchange_of, query_of, read
from router.api.admin.responses import Page, one
from router.api.operation import OperationRoute
from router.errors import InvalidRequest

operations = APIRouter(route_class=OperationRoute)


class DecisionOut(msgspec.Struct, frozen=True):
    """What may be done with a model, and why not: one for each use, and one for charging."""

    what: str
    allowed: bool
    license: str
    reasons: list[str]
    lifted_by: str
    object: str = "decision"


@operations.get(f"{V1}/decisions", **lists("list_decisions", "What may be done", TAG, DecisionOut, "model"))
async def list_(request: Request) -> Response:
    """For each use, and for charging: allowed or not, why, and what would lift it. Needs ``model``."""
    query = query_of(request, "limit", "cursor", "model")
    if "model" not in query:
        raise InvalidRequest("'model' says of which model.", param="model")
    now = exchange_of(request).now
    model = await read(request, lambda connection: models.get(connection, query["model"]))
    decided = [(use.value, decide(model, use, frozenset(), now)) for use in Use]
    return one(Page([_out(*row) for row in [*decided, ("charging", may_charge(model, now))]]))


def _out(what: str, decision: Decision) -> DecisionOut:
    return DecisionOut(what, decision.allowed, decision.license, list(decision.reasons), decision.lifted_by)
