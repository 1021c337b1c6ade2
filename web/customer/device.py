"""``/device`` and ``/accounts/{account}/device``: a member approves or denies the login of a command line."""

from datetime import datetime
from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from router.identity.scopes import ROLE_SCOPES, Scope
from store.ids import AccountId, wire
from web.answers import Answer, Page, Redirect
from web.forms import Form
from web.parts.tables import address
from web.request import PageRequest


class AccountChoice(msgspec.Struct, frozen=True):
    """An account for which the reader may approve."""

    name: str
    href: str


class DeviceStartPage(Page, frozen=True, kw_only=True):
    """Where the code is typed, or the account is chosen."""

    template: ClassVar[str] = "customer/device_start.html"

    form: Form
    choices: tuple[AccountChoice, ...]
    has_account: bool


class Login(msgspec.Struct, frozen=True):
    """The login, as the operation answers."""

    user_code: str
    client: str
    network: str | None
    scopes: list[str]
    grantable: list[str]
    state: str
    expires_at: datetime


class DevicePage(Page, frozen=True, kw_only=True):
    """What asks, and two buttons; ``login`` is None where there is none of this code."""

    template: ClassVar[str] = "customer/device.html"

    action: str
    account_name: str
    login: Login | None
    fault: str = ""


class CodeQuery(msgspec.Struct, frozen=True):
    """The code that the command line shows."""

    code: str = ""


class DecisionForm(msgspec.Struct, frozen=True):
    """The code, what is granted, and which button was pressed."""

    code: str = ""
    scopes: tuple[str, ...] = ()
    decision: str = ""


async def show_start(request: PageRequest) -> Answer:
    """Ask for the code, then for the account where there are several."""
    code = request.query_as(CodeQuery).code
    mine = [one for one in request.viewer.memberships if Scope.KEYS_WRITE in ROLE_SCOPES[one.role]]
    choices = tuple(AccountChoice(one.account_name, _href(one.account_id, code)) for one in mine)
    if code and len(choices) == 1:
        return Redirect(to=choices[0].href, status=302)
    return DeviceStartPage(
        title="Log in a command line",
        form=Form({"code": code}),
        choices=choices if code else (),
        has_account=bool(mine),
    )


async def show(request: PageRequest) -> DevicePage:
    """What asks."""
    return await _page(request, request.query_as(CodeQuery).code)


async def decide(request: PageRequest) -> Answer:
    """Approve or deny."""
    form = request.form_as(DecisionForm)
    path = {"user_code": form.code}
    try:
        if form.decision == "approve":
            await request.run("approve_device_login", Login, path=path, body={"scopes": list(form.scopes)})
        else:
            await request.run("deny_device_login", Login, path=path)
    except OperationRefused as refused:
        return await _page(request, form.code, fault=refused.error.message, status=refused.status)
    return Redirect(to=address(request.path, (("code", form.code),)))


async def _page(request: PageRequest, code: str, *, fault: str = "", status: int = 200) -> DevicePage:
    login = None
    try:
        login = (await request.run("retrieve_device_login", Login, path={"user_code": code or "-"})).value
    except OperationRefused as refused:
        fault, status = fault or refused.error.message, refused.status
    membership = request.viewer.membership(request.account())
    return DevicePage(
        title="Log in a command line",
        action=request.path,
        account_name="" if membership is None else membership.account_name,
        login=login,
        fault=fault,
        status=status,
    )


def _href(account_id: AccountId, code: str) -> str:
    return address(f"/accounts/{wire(AccountId, account_id)}/device", (("code", code),))
