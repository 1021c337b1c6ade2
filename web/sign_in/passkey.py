"""Signs in with a passkey: the options that an authenticator signs, and what it signed."""

import msgspec

from router.admin.sign_in import sign_in_with_passkey
from router.errors import InvalidRequest, NotFound, RequestLimit
from router.identity.people.passkeys import begin_sign_in
from web.answers import Answer, File
from web.forms import Form
from web.request import PageRequest
from web.sign_in.cookies import BROWSER, browser_cookie
from web.sign_in.finish import Carried, complete, replaced
from web.sign_in.start import start_page

JSON = "application/json"


class NoForm(msgspec.Struct, frozen=True):
    """Nothing is sent."""


class PasskeyForm(msgspec.Struct, frozen=True):
    """What the authenticator signed, as JSON, and what is carried along."""

    credential: str = ""
    next: str = ""
    held: str = ""
    again: str = ""


async def options(request: PageRequest) -> File:
    """The options, as JSON, and the cookie of the browser that they are for."""
    request.form_as(NoForm)
    people, network = request.context.people, request.place.network
    made, browser = await begin_sign_in(people.writes, people.party, request.cookies.get(BROWSER), network)
    cookie = ("set-cookie", browser_cookie(browser))
    return File(body=made.encode(), media=JSON, holds_secret=True, headers=(cookie,))


async def act(request: PageRequest) -> Answer:
    """Check what was signed, and sign in."""
    form = request.form_as(PasskeyForm)
    carried, people = Carried(form.next, form.held), request.context.people
    place = request.place
    try:
        entry = await sign_in_with_passkey(
            people.writes,
            people.party,
            request.cookies.get(BROWSER),
            form.credential,
            place,
            replaces=replaced(request),
        )
    except (InvalidRequest, NotFound, RequestLimit) as fault:
        status = 429 if isinstance(fault, RequestLimit) else 400
        return start_page(request, carried, again=bool(form.again), form=Form(fault=fault.message), status=status)
    return await complete(request, entry, carried)
