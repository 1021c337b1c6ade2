"""Explains why a call went where it did, by its id, or where one would go, as a question; two of them side by side."""

from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from router.explain.views import AttemptOut, CandidateOut
from web.answers import Crumb, Page
from web.forms import Form, form_of
from web.ops.write import OPERATIONS
from web.parts.curl import curl
from web.parts.tables import Column
from web.request import PageRequest

CANDIDATES = (
    Column("Endpoint"),
    Column("State"),
    Column("Turn", is_number=True),
    Column("Why left out"),
    Column("Facts"),
)
ATTEMPTS = (
    Column("Provider"),
    Column("Why"),
    Column("Began", "ms", is_number=True),
    Column("Took", "ms", is_number=True),
    Column("How it ended"),
)


class RouteQuery(msgspec.Struct, frozen=True):
    """A call's id and another one's; or the call that is imagined. ``exclude``: providers and endpoints left out."""

    call: str = ""
    beside: str = ""
    model: str = ""
    account: str = ""
    of_key: str = ""
    inputs: str = ""
    tokens: str = ""
    exclude: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """What became of a call, or would."""

    id: str
    created_at: str
    status: int | None
    model: str
    account: str | None
    inputs: int
    policy: str
    candidates: list[CandidateOut]
    attempts: list[AttemptOut]
    cost: str | None
    provider_cost: str | None
    margin: str | None
    detail: str


class Difference(msgspec.Struct, frozen=True):
    """What leaving something out would change."""

    chosen_now: str | None
    chosen_then: str | None
    enters: list[str]
    leaves: list[str]
    cost_usd_per_mtok_now: str | None
    cost_usd_per_mtok_then: str | None


class Explained(msgspec.Struct, frozen=True):
    """The answer to a question."""

    now: Explanation
    then: Explanation | None
    difference: Difference | None


class RoutePage(Page, frozen=True, kw_only=True):
    """The forms, and what was which for: a title and an explanation each."""

    template: ClassVar[str] = "ops/route.html"

    form: Form
    shown: tuple[tuple[str, Explanation], ...] = ()
    difference: Difference | None = None
    curl: str = ""
    candidates_head: tuple[Column, ...] = CANDIDATES
    attempts_head: tuple[Column, ...] = ATTEMPTS


async def show(request: PageRequest) -> RoutePage:
    """Explain what the address asks for."""
    query = request.query_as(RouteQuery)
    typed = {name: value for name, value in msgspec.structs.asdict(query).items() if value}
    try:
        if query.call:
            return await _calls(request, query, Form(typed))
        if query.model:
            return await _question(request, query, Form(typed))
    except OperationRefused as refused:
        names = {"request_id": "call", "key": "of_key"}
        return _page(form_of(request, refused, names, typed), status=refused.status)
    return _page(Form(typed))


async def _calls(request: PageRequest, query: RouteQuery, form: Form) -> RoutePage:
    ids = [one for one in (query.call, query.beside) if one]
    shown = []
    for one in ids:
        call = await request.run("admin_retrieve_request", Explanation, path={"request_id": one})
        shown.append((one, call.value))
    path = request.operations.declared("admin_retrieve_request").path_of({"request_id": query.call})
    return _page(form, shown=tuple(shown), curl=curl("GET", path, writes=False))


async def _question(request: PageRequest, query: RouteQuery, form: Form) -> RoutePage:
    body: dict[str, object] = {"model": query.model}
    body |= {name: value for name, value in (("account", query.account), ("key", query.of_key)) if value}
    body |= {name: _whole(value) for name, value in (("inputs", query.inputs), ("tokens", query.tokens)) if value}
    if query.exclude:
        body["what_if"] = {"exclude": [one.strip() for one in query.exclude.split(",") if one.strip()]}
    explained = (await request.run("admin_explain_route", Explained, body=body)).value
    shown = [("Now", explained.now)]
    if explained.then is not None:
        shown.append((f"Without {query.exclude}", explained.then))
    path = request.operations.declared("admin_explain_route").path
    return _page(
        form, shown=tuple(shown), difference=explained.difference, curl=curl("POST", path, body=body, writes=False)
    )


def _whole(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text


def _page(
    form: Form,
    *,
    status: int = 200,
    shown: tuple[tuple[str, Explanation], ...] = (),
    difference: Difference | None = None,
    curl: str = "",
) -> RoutePage:
    return RoutePage(
        title="Explain a route",
        crumbs=(OPERATIONS, Crumb("Explain a route")),
        form=form,
        shown=shown,
        difference=difference,
        curl=curl,
        status=status,
    )
