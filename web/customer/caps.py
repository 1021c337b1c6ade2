"""``/accounts/{account}/credit/caps``: the most that the account may spend, and budgets, which warn and refuse none."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Answer, Page, Redirect
from web.customer.money import Section, credit_path, crumbs, nano, sections
from web.faults import NotFound
from web.forms import Form, form_of
from web.request import PageRequest

PERIODS: tuple[Literal["total", "month", "day"], ...] = ("total", "month", "day")
PERIOD_WORDS = {"total": "in total", "month": "per month (UTC)", "day": "per day (UTC)"}
PERIOD_OPTIONS = tuple((one, PERIOD_WORDS[one]) for one in ("month", "day", "total"))
BUDGETS_MAX = "50"


class _Cap(msgspec.Struct, frozen=True):
    amount_usd: str
    period: str
    spent_usd: str
    left_usd: str
    resets_at: datetime | None


class _Caps(msgspec.Struct, frozen=True):
    caps: list[_Cap]


class _Budget(_Cap, frozen=True, kw_only=True):
    id: str
    name: str
    key: str | None


class _Budgets(msgspec.Struct, frozen=True):
    data: list[_Budget]


class _Any(msgspec.Struct, frozen=True):
    """An answer of which nothing is needed."""


class LimitRow(msgspec.Struct, frozen=True):
    """A cap or a budget, with what is left of it; amounts are nano-USD. ``id`` is empty for a cap."""

    id: str
    name: str
    words: str
    amount_nano: int
    spent_nano: int
    left_nano: int
    resets_at: datetime | None


class CapsPage(Page, frozen=True, kw_only=True):
    """Both, and their forms."""

    template: ClassVar[str] = "customer/caps.html"

    sections: tuple[Section, ...]
    here: str
    caps: tuple[LimitRow, ...]
    budgets: tuple[LimitRow, ...]
    form: Form
    budget_form: Form
    periods: tuple[tuple[str, str], ...]
    notice: str = ""


class CapsQuery(msgspec.Struct, frozen=True):
    """What was done a moment ago."""

    done: Literal["caps", "added", "deleted", ""] = ""


class CapsForm(msgspec.Struct, frozen=True):
    """An amount of each period; empty: no cap."""

    total: str = ""
    month: str = ""
    day: str = ""


class BudgetForm(msgspec.Struct, frozen=True):
    """A budget of all the account's keys."""

    budget_name: str = ""
    budget_usd: str = ""
    budget_period: str = "month"


class NoForm(msgspec.Struct, frozen=True):
    """A button alone."""


NOTICES = {"caps": "The caps are set.", "added": "The budget is set.", "deleted": "The budget is deleted."}
BUDGET_FIELDS = {"name": "budget_name", "amount_usd": "budget_usd", "period": "budget_period"}


async def show(request: PageRequest) -> CapsPage:
    """Caps and budgets with what is left."""
    return await _page(request, notice=NOTICES.get(request.query_as(CapsQuery).done, ""))


async def set_caps(request: PageRequest) -> Answer:
    """Replace the caps."""
    typed = msgspec.structs.asdict(request.form_as(CapsForm))
    caps = [{"amount_usd": typed[one].strip(), "period": one} for one in PERIODS if typed[one].strip()]
    # A fault names the cap by its place in the list.
    fields = {f"caps[{place}].amount_usd": str(cap["period"]) for place, cap in enumerate(caps)}
    try:
        await request.run("set_own_caps", _Any, body={"caps": caps})
    except OperationRefused as refused:
        return await _page(request, form=form_of(request, refused, fields), status=refused.status)
    return Redirect(to=f"{request.path}?done=caps")


async def add_budget(request: PageRequest) -> Answer:
    """Add a budget."""
    form = request.form_as(BudgetForm)
    body = {"name": form.budget_name.strip(), "amount_usd": form.budget_usd.strip(), "period": form.budget_period}
    try:
        await request.run("create_budget", _Any, body=body)
    except OperationRefused as refused:
        return await _page(request, budget_form=form_of(request, refused, BUDGET_FIELDS), status=refused.status)
    return Redirect(to=f"{_here(request)}?done=added")


async def delete_budget(request: PageRequest) -> Answer:
    """Delete a budget."""
    request.form_as(NoForm)
    try:
        await request.run("delete_budget", _Any, path={"budget_id": request.values["budget"]})
    except OperationRefused as refused:
        if refused.status in (400, 404, 422):
            raise NotFound from None
        return await _page(request, budget_form=Form(fault=refused.error.message), status=refused.status)
    return Redirect(to=f"{_here(request)}?done=deleted")


async def _page(
    request: PageRequest,
    *,
    form: Form | None = None,
    budget_form: Form | None = None,
    notice: str = "",
    status: int = 200,
) -> CapsPage:
    caps = (await request.run("retrieve_own_caps", _Caps)).value.caps
    budgets = (await request.run("list_budgets", _Budgets, query={"limit": BUDGETS_MAX})).value.data
    return CapsPage(
        title="Caps and budgets",
        crumbs=crumbs(request, "Caps and budgets"),
        sections=sections(request),
        here=_here(request),
        caps=tuple(_row(cap) for cap in caps),
        budgets=tuple(_row(budget, budget.id, budget.name, budget.key) for budget in budgets),
        form=form or Form({cap.period: cap.amount_usd for cap in caps}),
        budget_form=budget_form or Form({"budget_period": "month"}),
        periods=PERIOD_OPTIONS,
        notice=notice,
        status=status,
    )


def _row(limit: _Cap, budget_id: str = "", name: str = "", key: str | None = None) -> LimitRow:
    words = PERIOD_WORDS.get(limit.period, limit.period)
    return LimitRow(
        id=budget_id,
        name=name,
        words=words if key is None else f"{words}, key {key}",
        amount_nano=nano(limit.amount_usd),
        spent_nano=nano(limit.spent_usd),
        left_nano=nano(limit.left_usd),
        resets_at=limit.resets_at,
    )


def _here(request: PageRequest) -> str:
    return f"{credit_path(request)}/caps"
