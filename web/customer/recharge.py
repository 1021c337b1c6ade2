"""``/accounts/{account}/credit/recharge``: credit that is bought by itself, by a person's consent to certain words."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused
from store.ids import new_id
from web.answers import Answer, Page, Redirect
from web.customer.money import Section, credit_path, crumbs, nano, sections
from web.forms import Form, form_of
from web.request import PageRequest


class _Consent(msgspec.Struct, frozen=True):
    by: str
    at: datetime
    words: str


class UnderWay(msgspec.Struct, frozen=True):
    """A recharge that is not over."""

    topup: str
    status: str
    next_at: datetime
    problem: str


class _Recharge(msgspec.Struct, frozen=True):
    is_on: bool
    threshold_usd: str | None
    amount_usd: str | None
    month_max_usd: str | None
    month_bought_usd: str
    consent: _Consent | None
    off_reason: str | None
    under_way: UnderWay | None
    wording: str
    words: str


class RechargePage(Page, frozen=True, kw_only=True):
    """Whether it is on and by whose consent; the form with the words, or what the words become of what was typed."""

    template: ClassVar[str] = "customer/recharge.html"

    sections: tuple[Section, ...]
    here: str
    top_up: str
    is_on: bool
    can_buy: bool
    threshold_nano: int | None
    amount_nano: int | None
    month_max_nano: int | None
    month_bought_nano: int
    consent: _Consent | None
    off_reason: str | None
    under_way: UnderWay | None
    words: str
    wording: str
    form: Form
    once: str
    notice: str = ""


class RechargeQuery(msgspec.Struct, frozen=True):
    """What was done a moment ago."""

    done: Literal["on", "off", ""] = ""


class RechargeForm(msgspec.Struct, frozen=True):
    """The amounts, and the name of who read the words."""

    threshold_usd: str = ""
    amount_usd: str = ""
    month_max_usd: str = ""
    consented_by: str = ""
    wording: str = ""
    once: str = ""


class NoForm(msgspec.Struct, frozen=True):
    """A button alone."""


NOTICES = {"on": "Auto-recharge is on.", "off": "Auto-recharge is off."}


async def show(request: PageRequest) -> RechargePage:
    """Auto-recharge as it is."""
    return await _page(request, None, notice=NOTICES.get(request.query_as(RechargeQuery).done, ""))


async def set_on(request: PageRequest) -> Answer:
    """Switch it on, or change its amounts."""
    form = request.form_as(RechargeForm)
    body = {name: value.strip() for name, value in msgspec.structs.asdict(form).items() if name != "once"}
    try:
        await request.run("set_recharge", _Recharge, body=body, idempotency_key=form.once or str(new_id()))
    except OperationRefused as refused:
        return await _page(request, form_of(request, refused), status=refused.status)
    return Redirect(to=f"{request.path}?done=on")


async def set_off(request: PageRequest) -> Answer:
    """Switch it off."""
    request.form_as(NoForm)
    try:
        await request.run("off_recharge", _Recharge)
    except OperationRefused as refused:
        return await _page(request, Form(fault=refused.error.message), status=refused.status)
    return Redirect(to=f"{credit_path(request)}/recharge?done=off")


async def _page(request: PageRequest, form: Form | None, *, notice: str = "", status: int = 200) -> RechargePage:
    found = (await request.run("retrieve_recharge", _Recharge)).value
    here = f"{credit_path(request)}/recharge"
    usual = {
        "threshold_usd": found.threshold_usd or "5.00",
        "amount_usd": found.amount_usd or "25.00",
        "month_max_usd": found.month_max_usd or "100.00",
        "consented_by": request.viewer.name,
    }
    return RechargePage(
        title="Auto-recharge",
        crumbs=crumbs(request, "Auto-recharge"),
        sections=sections(request),
        here=here,
        top_up=credit_path(request),
        is_on=found.is_on,
        can_buy=request.context.reads.stripe is not None,
        threshold_nano=_nano(found.threshold_usd),
        amount_nano=_nano(found.amount_usd),
        month_max_nano=_nano(found.month_max_usd),
        month_bought_nano=nano(found.month_bought_usd),
        consent=found.consent,
        off_reason=found.off_reason,
        under_way=found.under_way,
        words=found.words,
        wording=found.wording,
        form=form or Form(usual),
        once=str(new_id()),
        notice=notice,
        status=status,
    )


def _nano(usd: str | None) -> int | None:
    return None if usd is None else nano(usd)
