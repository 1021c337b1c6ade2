"""Lets an operator in whom the machine has invited: the page registers the passkey that signs them in from then on."""

import secrets
from typing import ClassVar

import msgspec

from router.admin.sign_in import begin_operator, finish_operator
from router.errors import Conflict, InvalidRequest, NotAllowed, RequestLimit
from router.identity.people.values import is_secret
from web.answers import Answer, File, Page
from web.request import PageRequest
from web.sign_in.cookies import BROWSER, browser_cookie
from web.sign_in.finish import Carried, complete
from web.sign_in.passkey import JSON, NoForm


class OperatorPage(Page, frozen=True, kw_only=True):
    """The button that makes a passkey."""

    template: ClassVar[str] = "sign_in/operator.html"
    scripts: ClassVar[tuple[str, ...]] = ("passkeys.js",)

    action: str
    fault: str = ""


class OperatorForm(msgspec.Struct, frozen=True):
    """The passkey that was made, as JSON, and what it is called."""

    credential: str = ""
    name: str = ""


async def show(request: PageRequest) -> OperatorPage:
    """The button; whether the invitation is good is said when it is pressed."""
    return _page(request)


async def options(request: PageRequest) -> File:
    """The options for making a passkey, as JSON. Raises ``NotAllowed``."""
    request.form_as(NoForm)
    people, browser = request.context.people, request.cookies.get(BROWSER)
    secret = browser if browser is not None and is_secret(browser) else secrets.token_urlsafe(32)
    made = await begin_operator(people.writes, people.party, request.values["token"], secret)
    cookie = ("set-cookie", browser_cookie(secret))
    return File(body=made.encode(), media=JSON, holds_secret=True, headers=(cookie,))


async def act(request: PageRequest) -> Answer:
    """Register the passkey, and sign in."""
    form = request.form_as(OperatorForm)
    people, token = request.context.people, request.values["token"]
    browser = request.cookies.get(BROWSER) or ""
    place = request.place
    try:
        entry = await finish_operator(people.writes, people.party, token, browser, form.credential, form.name, place)
    except (InvalidRequest, NotAllowed, Conflict, RequestLimit) as fault:
        return _page(request, fault.message, 429 if isinstance(fault, RequestLimit) else 400)
    return await complete(request, entry, Carried())


def _page(request: PageRequest, fault: str = "", status: int = 200) -> OperatorPage:
    return OperatorPage(
        title="Register your passkey", action=request.path, fault=fault, status=status, holds_secret=True
    )
