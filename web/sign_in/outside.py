"""Signs in by another service: leads there, and takes what it answers by a button, since a GET changes nothing."""

import hmac
import secrets
from typing import ClassVar

import msgspec

from router.admin.outside_sign_in import sign_in_outside
from router.errors import InvalidRequest, RequestLimit
from router.identity.people.codes import request_code
from router.identity.people.limits import TRIES_OF_NETWORK, count_try
from router.identity.people.outside_services import Attempt, begin, finish, new_attempt
from router.identity.people.set_up import Service
from router.identity.people.values import is_secret
from web.answers import Answer, Page, Redirect
from web.faults import NotFound
from web.forms import Form
from web.request import PageRequest
from web.sign_in.code import code_page
from web.sign_in.cookies import BROWSER, OUTSIDE, browser_cookie, forget, next_cookie, outside_cookie
from web.sign_in.finish import Carried, complete, replaced
from web.sign_in.start import SignInQuery, start_page

PARTS = 3


class ReturnPage(Page, frozen=True, kw_only=True):
    """The button that signs in."""

    template: ClassVar[str] = "sign_in/outside.html"

    action: str
    label: str
    code: str
    state: str


class ReturnQuery(msgspec.Struct, frozen=True):
    """What the service answers: a code, or why not. What else it adds is not read."""

    code: str = ""
    state: str = ""
    error: str = ""
    error_description: str = ""
    error_uri: str = ""
    scope: str = ""
    iss: str = ""
    session_state: str = ""
    authuser: str = ""
    hd: str = ""
    prompt: str = ""


class ReturnForm(msgspec.Struct, frozen=True):
    """The same, to be used."""

    code: str = ""
    state: str = ""


async def leave(request: PageRequest) -> Answer:
    """Lead to the service. Raises ``NotFound`` for one that is not set up."""
    query, service = request.query_as(SignInQuery), _service(request)
    attempt = new_attempt()
    try:
        to = await begin(service, attempt, _return_uri(request, service))
    except InvalidRequest as fault:
        return start_page(request, Carried(query.next), form=Form(fault=fault.message), status=503)
    cookies = [outside_cookie(f"{attempt.state}.{attempt.nonce}.{attempt.verifier}")]
    if request.page_or(query.next, ""):
        cookies.append(next_cookie(query.next))
    return Redirect(to=to, status=302, cookies=tuple(cookies))


async def show(request: PageRequest) -> Answer:
    """The button; or the form for signing in, where the service said no."""
    query, service = request.query_as(ReturnQuery), _service(request)
    if query.error or _attempt(request, query.state) is None:
        return _again(request, service)
    return ReturnPage(
        title=f"Sign in with {service.label}",
        action=request.path,
        label=service.label,
        code=query.code,
        state=query.state,
        holds_secret=True,
    )


async def act(request: PageRequest) -> Answer:
    """Find out who that is, and sign them in; whoever is known by their address types a code first."""
    form, service, people = request.form_as(ReturnForm), _service(request), request.context.people
    attempt, browser = _attempt(request, form.state), request.cookies.get(BROWSER)
    if attempt is None:
        return _again(request, service)
    browser = browser if browser is not None and is_secret(browser) else secrets.token_urlsafe(32)
    try:
        await count_try(people.writes, TRIES_OF_NETWORK, request.place.network)
        uri = _return_uri(request, service)
        identity = await finish(service, attempt, uri, form.code, request.exchange.now)
        entry = await sign_in_outside(
            people.writes, identity, browser, request.place, people.credit, replaces=replaced(request)
        )
        if entry is not None:
            return await complete(request, entry, Carried())
        pending = await request_code(people.writes, identity.email, browser, request.place.network)
    except (InvalidRequest, RequestLimit) as fault:
        status = 429 if isinstance(fault, RequestLimit) else 400
        return start_page(request, Carried(), form=Form(fault=fault.message), status=status)
    why = f"There is somebody with this address here. Type the code, and {service.label} signs you in from then on."
    cookies = (browser_cookie(pending.browser), forget(OUTSIDE))
    return code_page(pending, Carried(), form=Form(fault=why), cookies=cookies)


def _again(request: PageRequest, service: Service) -> Page:
    sentence = f"{service.label} did not sign you in, or it was begun in another browser. Try again."
    return start_page(request, Carried(), form=Form(fault=sentence), status=400)


def _service(request: PageRequest) -> Service:
    found = next((one for one in request.context.people.services if one.slug == request.values["service"]), None)
    if found is None:
        raise NotFound
    return found


def _attempt(request: PageRequest, state: str) -> Attempt | None:
    """What this browser has begun, where the answer is to it."""
    parts = request.cookies.get(OUTSIDE, "").split(".")
    if len(parts) != PARTS or not hmac.compare_digest(parts[0].encode(), state.encode()):
        return None
    return Attempt(*parts)


def _return_uri(request: PageRequest, service: Service) -> str:
    return f"{request.context.origins.public}/sign-in/with/{service.slug}/return"
