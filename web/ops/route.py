"""Explains why a call went where it did, by its id, or where one would go, as a question; two of them side by side.

What two of them have in common and what not says :mod:`web.ops.route_pair`.
"""

from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Crumb, Page
from web.forms import Form, form_of
from web.ops.explanations import Difference, Explanation, Question, curl_of, explain
from web.ops.route_pair import PairPage, show_pair
from web.ops.write import OPERATIONS
from web.parts.tables import Column, address
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
    """A call's id; or the call that is imagined. ``exclude``: providers and endpoints left out.

    ``a`` and ``b`` are two beside each other, each a call's id or the model of a question, with what else the question
    says of each. ``beside``: the second of two calls, of which ``call`` is the first.
    """

    call: str = ""
    beside: str = ""
    model: str = ""
    account: str = ""
    of_key: str = ""
    inputs: str = ""
    tokens: str = ""
    exclude: str = ""
    a: str = ""
    a_account: str = ""
    a_of_key: str = ""
    a_inputs: str = ""
    a_tokens: str = ""
    a_exclude: str = ""
    b: str = ""
    b_account: str = ""
    b_of_key: str = ""
    b_inputs: str = ""
    b_tokens: str = ""
    b_exclude: str = ""

    def side(self, name: str) -> "Question":
        """One of the two."""
        names = Question.__struct_fields__[1:]
        return Question(getattr(self, name).strip(), *(getattr(self, f"{name}_{field}") for field in names))


class RoutePage(Page, frozen=True, kw_only=True):
    """The forms, and what was which for: a title and an explanation each."""

    template: ClassVar[str] = "ops/route.html"

    form: Form
    shown: tuple[tuple[str, Explanation], ...] = ()
    difference: Difference | None = None
    curl: str = ""
    again_href: str = ""
    candidates_head: tuple[Column, ...] = CANDIDATES
    attempts_head: tuple[Column, ...] = ATTEMPTS


async def show(request: PageRequest) -> RoutePage | PairPage:
    """Explain what the address asks for."""
    query = request.query_as(RouteQuery)
    typed = {name: value for name, value in msgspec.structs.asdict(query).items() if value}
    if query.beside:
        typed = {"a": query.call, "b": query.beside}
    if "a" in typed or "b" in typed:
        pair = RouteQuery(**typed)
        return await show_pair(request, (pair.side("a"), pair.side("b")), Form(typed))
    try:
        if query.call:
            return await _call(request, Question(query.call), Form(typed))
        if query.model:
            return await _question(request, query, Form(typed))
    except OperationRefused as refused:
        names = {"request_id": "call", "key": "of_key"}
        return _page(form_of(request, refused, names, typed), status=refused.status)
    return _page(Form(typed))


async def _call(request: PageRequest, question: Question, form: Form) -> RoutePage:
    call = (await explain(request, question)).now
    again = {"a": question.subject, "b": call.model, "b_account": call.account, "b_inputs": str(call.inputs)}
    href = address("/ops/route", tuple((name, value) for name, value in again.items() if value))
    shown = ((question.subject, call),)
    return _page(form, shown=shown, curl=curl_of(request, question), again_href=href)


async def _question(request: PageRequest, query: RouteQuery, form: Form) -> RoutePage:
    question = Question(query.model, query.account, query.of_key, query.inputs, query.tokens, query.exclude)
    explained = await explain(request, question)
    shown = [("Now", explained.now)]
    if explained.then is not None:
        shown.append((f"Without {query.exclude}", explained.then))
    line = curl_of(request, question)
    return _page(form, shown=tuple(shown), difference=explained.difference, curl=line)


def _page(
    form: Form,
    *,
    status: int = 200,
    shown: tuple[tuple[str, Explanation], ...] = (),
    difference: Difference | None = None,
    curl: str = "",
    again_href: str = "",
) -> RoutePage:
    return RoutePage(
        title="Explain a route",
        crumbs=(OPERATIONS, Crumb("Explain a route")),
        form=form,
        shown=shown,
        difference=difference,
        curl=curl,
        again_href=again_href,
        status=status,
    )
