"""``/accounts/{account}/close``: an owner closes the account, once they have seen what becomes of its money."""

from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from store.ids import new_id
from web.answers import Answer, Crumb, Page
from web.forms import ONCE, Change, ConfirmPage, Form, form_of, hidden_fields, is_confirmed
from web.request import PageRequest


class Closing(msgspec.Struct, frozen=True):
    """What closing does, as the operation answers."""

    state: str
    waits_for: str
    refunded_usd: str | None = None
    forfeited_usd: str | None = None
    keys_ended: int | None = None


class ClosePage(Page, frozen=True, kw_only=True):
    """The form. ``obstacles``: what stands in the way. ``closing``: it is under way already."""

    template: ClassVar[str] = "customer/close.html"

    action: str
    base: str
    name: str
    form: Form
    obstacles: tuple[str, ...] = ()
    closing: Closing | None = None


class ClosedPage(Page, frozen=True, kw_only=True):
    """The account is closed: what became of its money, and what jobs do still."""

    template: ClassVar[str] = "customer/closed.html"

    name: str
    closing: Closing


class CloseForm(msgspec.Struct, frozen=True):
    """The fields."""

    forfeit: bool = False
    reason: str = ""
    confirm: str = ""
    once: str = ""


async def show(request: PageRequest) -> ClosePage:
    """The form, or how far the closing is."""
    closing = None
    try:
        closing = (await request.run("retrieve_own_closing", Closing)).value
    except OperationRefused as refused:
        if refused.status != 404:
            raise
    return _page(request, Form(), closing=closing)


async def act(request: PageRequest) -> Answer:
    """Show what would become of the account and its money, or close it."""
    form = request.form_as(CloseForm)
    body = {"confirm": request.values["account"], "forfeit": form.forfeit} | (
        {"reason": form.reason.strip()} if form.reason.strip() else {}
    )
    once = form.once or str(new_id())
    try:
        if is_confirmed(request):
            done = (await request.run("close_own_account", Closing, body=body, idempotency_key=once)).value
            return ClosedPage(title=f"{_name(request)} is closed", name=_name(request), closing=done)
        would = await request.run("close_own_account", Closing, body=body, dry_run=True, idempotency_key=once)
    except OperationRefused as refused:
        obstacles = msgspec.convert(refused.error.details.get("obstacles", []), tuple[str, ...])
        return _page(request, form_of(request, refused), obstacles=obstacles, status=refused.status)
    return _confirmation(request, would.value)


def _confirmation(request: PageRequest, would: Closing) -> ConfirmPage:
    what = f"Close {_name(request)} for good"
    return ConfirmPage(
        title=f"{what}?",
        crumbs=(*_crumbs(request)[:1], Crumb("Close", request.path), Crumb("Confirm")),
        action=request.path,
        button=what,
        back=f"{_base(request)}/data",
        changes=(
            Change("Account", "active", "closed"),
            Change("Keys that work", str(would.keys_ended or 0), "none"),
            Change("Credit that is paid back, USD", "none", would.refunded_usd or "0.00"),
            Change("Credit that ends, USD", "none", would.forfeited_usd or "0.00"),
        ),
        hidden=hidden_fields(request, **{ONCE: str(new_id())}),
        is_dangerous=True,
        notes=(
            "Documents, the ledger and usage stay with us, because the law wants them; names and addresses of "
            "people are erased, and archives of your data are removed. Download what you need before.",
        ),
    )


def _page(
    request: PageRequest,
    form: Form,
    *,
    obstacles: tuple[str, ...] = (),
    closing: Closing | None = None,
    status: int = 200,
) -> ClosePage:
    return ClosePage(
        title=f"Close {_name(request)}",
        crumbs=_crumbs(request),
        action=request.path,
        base=_base(request),
        name=_name(request),
        form=form,
        obstacles=obstacles,
        closing=closing,
        status=status,
    )


def _name(request: PageRequest) -> str:
    membership = request.viewer.membership(request.account())
    return "" if membership is None else membership.account_name


def _crumbs(request: PageRequest) -> tuple[Crumb, ...]:
    return (Crumb("Your data", f"{_base(request)}/data"), Crumb("Close"))


def _base(request: PageRequest) -> str:
    return f"/accounts/{request.values['account']}"
