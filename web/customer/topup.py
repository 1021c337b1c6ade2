"""``/accounts/{account}/credit/top-ups/{topup}`` and the link to Stripe's portal: pages that lead to Stripe's."""

from datetime import datetime
from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Crumb, Page
from web.customer.money import credit_path, crumbs, nano
from web.faults import NotFound
from web.forms import Form, form_of
from web.request import PageRequest


class _Topup(msgspec.Struct, frozen=True):
    id: str
    status: str
    amount_usd: str
    url: str | None
    paid_usd: str | None
    problem: str
    created_at: datetime


class _Link(msgspec.Struct, frozen=True):
    status: str
    url: str | None


class TopupPage(Page, frozen=True, kw_only=True):
    """A top-up, and where it is paid."""

    template: ClassVar[str] = "customer/topup.html"

    here: str
    base: str
    state: str
    amount_nano: int
    problem: str
    created_at: datetime
    url: str | None


class PortalPage(Page, frozen=True, kw_only=True):
    """The link, which whoever has it may use; None where it is not made yet."""

    template: ClassVar[str] = "customer/portal.html"

    base: str
    url: str | None
    form: Form


async def show(request: PageRequest) -> TopupPage:
    """What became of a top-up."""
    try:
        topup = (await request.run("retrieve_topup", _Topup, path={"topup_id": request.values["topup"]})).value
    except OperationRefused as refused:
        if refused.status in (400, 404, 422):
            raise NotFound from None
        raise
    return TopupPage(
        title="Top-up",
        crumbs=crumbs(request, "Top-up"),
        here=request.path,
        base=credit_path(request),
        state=topup.status,
        amount_nano=nano(topup.amount_usd),
        problem=topup.problem,
        created_at=topup.created_at,
        url=topup.url,
    )


async def portal(request: PageRequest) -> PortalPage:
    """Make a link to the portal."""
    form, url, status = Form(), None, 200
    try:
        url = (await request.run("create_portal", _Link)).value.url
    except OperationRefused as refused:
        form, status = form_of(request, refused), refused.status
    path: tuple[Crumb, ...] = crumbs(request, "Stripe's portal")
    return PortalPage(
        title="Cards and tax ids at Stripe",
        crumbs=path,
        base=credit_path(request),
        url=url,
        form=form,
        status=status,
        holds_secret=True,
    )
