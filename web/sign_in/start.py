"""Begins signing in at ``/sign-in``: an e-mail address, to which a code and a link are sent, or a passkey.

``/sign-in/again`` is the same for somebody whose sign-in is older than what they want to do allows.
"""

from typing import ClassVar
from urllib.parse import urlencode

import msgspec

from router.errors import InvalidRequest, RequestLimit
from router.identity.people.codes import request_code
from web.answers import Answer, Page, Redirect
from web.forms import Form
from web.request import PageRequest
from web.sign_in.code import code_page
from web.sign_in.cookies import BROWSER, browser_cookie, next_cookie
from web.sign_in.finish import HOME, Carried

EMAIL_LENGTH_MAX = 254


class OtherWay(msgspec.Struct, frozen=True):
    """A service that signs people in."""

    label: str
    href: str


class SignInPage(Page, frozen=True, kw_only=True):
    """The form. ``again``: for somebody who is signed in, and has to prove it once more; ``ended``: who was."""

    template: ClassVar[str] = "sign_in/start.html"
    scripts: ClassVar[tuple[str, ...]] = ("passkeys.js",)

    form: Form
    carried: Carried
    again: bool = False
    credit: str = ""
    credit_days: int = 0
    services: tuple[OtherWay, ...] = ()


class SignInQuery(msgspec.Struct, frozen=True):
    """Where somebody was."""

    next: str = ""


class StartForm(msgspec.Struct, frozen=True):
    """The address, and what is carried along."""

    email: str = ""
    next: str = ""
    held: str = ""
    again: str = ""


async def show(request: PageRequest) -> Answer:
    """The form; whoever is signed in goes on."""
    query = request.query_as(SignInQuery)
    if request.viewer.is_known:
        return Redirect(to=request.page_or(query.next, HOME))
    return start_page(request, Carried(query.next))


async def again(request: PageRequest) -> Answer:
    """The form for somebody who has to sign in once more."""
    query = request.query_as(SignInQuery)
    return start_page(request, Carried(query.next), again=request.viewer.is_known)


async def act(request: PageRequest) -> Answer:
    """Mail a code, and ask for it. The answer is the same whether or not somebody has the address."""
    form = request.form_as(StartForm)
    carried = Carried(form.next, form.held)
    email = request.viewer.email if form.again and request.viewer.is_known else form.email
    place = request.place
    browser = request.cookies.get(BROWSER)
    try:
        pending = await request_code(request.context.people.writes, email, browser, place.network)
    except InvalidRequest as fault:
        faulty = Form({"email": form.email}, {"email": fault.message})
        return start_page(request, carried, again=bool(form.again), form=faulty, status=400)
    except RequestLimit as fault:
        faulty = Form({"email": form.email}, fault=fault.message)
        return start_page(request, carried, again=bool(form.again), form=faulty, status=429)
    cookies = [browser_cookie(pending.browser)]
    if request.page_or(form.next, ""):
        cookies.append(next_cookie(form.next))
    if carried.held:
        return code_page(pending, carried, cookies=tuple(cookies))
    return Redirect(to="/sign-in/code", cookies=tuple(cookies))


def start_page(
    request: PageRequest, carried: Carried, *, again: bool = False, form: Form | None = None, status: int = 200
) -> SignInPage:
    """The page of the form."""
    people, credit = request.context.people, request.context.people.credit
    query = f"?{urlencode({'next': carried.next})}" if carried.next else ""
    # What was typed in a form does not go to another service and back.
    ways = () if carried.held else people.services
    return SignInPage(
        title="Is it still you?" if again else "Sign in",
        form=form or Form(),
        carried=carried,
        again=again,
        credit="" if again or not credit.amount else f"{credit.amount // 10**9} USD",
        credit_days=credit.lasts.days,
        services=tuple(OtherWay(one.label, f"/sign-in/with/{one.slug}{query}") for one in ways),
        status=status,
        holds_secret=bool(carried.held),
    )
