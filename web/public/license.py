"""``/licenses/{license}``: what a license permits as this product understands it, and where an account accepts it."""

from datetime import datetime
from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from router.identity.scopes import ROLE_SCOPES, Scope
from store.ids import AccountId, wire
from web.answers import Answer, Crumb, Page, Redirect
from web.faults import NotFound
from web.forms import Form, form_of
from web.request import PageRequest


class Terms(msgspec.Struct, frozen=True):
    """A license's terms, as the operation answers."""

    id: str
    name: str
    url: str
    uses: list[str]
    charging: bool
    derivatives: bool
    attribution: bool
    share_alike: bool
    regions_denied: list[str]
    conditions: list[str]
    text_version: str | None


class Acceptance(msgspec.Struct, frozen=True):
    """Who accepted, and when."""

    accepted_by: str
    accepted_at: datetime
    text_version: str


class _State(msgspec.Struct, frozen=True):
    acceptance: Acceptance | None


class AccountLink(msgspec.Struct, frozen=True):
    """One of the reader's accounts."""

    name: str
    href: str


class LicensePage(Page, frozen=True, kw_only=True):
    """The terms. ``accounts`` are those of the reader that may accept."""

    template: ClassVar[str] = "public/license.html"

    terms: Terms
    accounts: tuple[AccountLink, ...] = ()
    action: str | None = None
    account_name: str = ""
    acceptance: Acceptance | None = None
    may_accept: bool = False
    form: Form = Form()


class AcceptForm(msgspec.Struct, frozen=True):
    """The yes to a version."""

    text_version: str = ""


async def show(request: PageRequest) -> LicensePage:
    """The terms, for anyone."""
    terms = await _terms(request)
    links = tuple(
        AccountLink(one.account_name, f"/accounts/{wire(AccountId, one.account_id)}/licenses/{terms.id}")
        for one in request.viewer.memberships
    )
    return LicensePage(title=terms.name, crumbs=_crumbs(terms), terms=terms, accounts=links)


async def show_account(request: PageRequest) -> LicensePage:
    """The terms, and whether the account has accepted them."""
    return await _account_page(request, Form())


async def accept(request: PageRequest) -> Answer:
    """Say yes for the account."""
    form = request.form_as(AcceptForm)
    terms = await _terms(request)
    try:
        await request.run(
            "accept_license", Acceptance, path={"license": terms.id}, body={"text_version": form.text_version}
        )
    except OperationRefused as refused:
        return await _account_page(request, form_of(request, refused), refused.status)
    return Redirect(to=request.path)


async def _account_page(request: PageRequest, form: Form, status: int = 200) -> LicensePage:
    terms = await _terms(request)
    state = (await request.run("retrieve_own_acceptance", _State, path={"license": terms.id})).value
    membership = request.viewer.membership(request.account())
    assert membership is not None, "its route is for members; this is a bug"
    return LicensePage(
        title=terms.name,
        crumbs=_crumbs(terms),
        terms=terms,
        action=request.path,
        account_name=membership.account_name,
        acceptance=state.acceptance,
        may_accept=Scope.KEYS_WRITE in ROLE_SCOPES[membership.role],
        form=form,
        status=status,
    )


async def _terms(request: PageRequest) -> Terms:
    try:
        return (await request.run("retrieve_license", Terms, path={"license": request.values["license"]})).value
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        raise


def _crumbs(terms: Terms) -> tuple[Crumb, ...]:
    return (Crumb("Licenses"), Crumb(terms.id))
