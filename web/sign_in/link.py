"""Shows the page of a mail's link, which uses nothing up: its one button does, in the browser that wanted the link."""

from typing import ClassVar

import msgspec

from router.admin.sign_in import sign_in_with_code
from router.errors import InvalidRequest, RequestLimit
from router.identity.people.codes import check_link, find_pending
from web.answers import Answer, Page, Redirect
from web.request import PageRequest
from web.sign_in.code import is_done_already
from web.sign_in.cookies import BROWSER
from web.sign_in.finish import HOME, Carried, complete, replaced


class LinkPage(Page, frozen=True, kw_only=True):
    """One button. ``is_here``: this browser waits for a code; ``fault``: what was wrong with the link."""

    template: ClassVar[str] = "sign_in/link.html"

    action: str
    email: str
    is_here: bool
    fault: str = ""


class NoForm(msgspec.Struct, frozen=True):
    """A button alone."""


async def show(request: PageRequest) -> LinkPage:
    """The button, or where to type the code instead."""
    return await _page(request)


async def act(request: PageRequest) -> Answer:
    """Sign in."""
    request.form_as(NoForm)
    people, place = request.context.people, request.place
    browser, link = request.cookies.get(BROWSER), request.values["link"]
    try:
        checked = await check_link(people.writes, browser, link, place.network)
        entry = await sign_in_with_code(people.writes, checked, place, people.credit, replaces=replaced(request))
    except (InvalidRequest, RequestLimit) as fault:
        if is_done_already(request, fault):
            return Redirect(to=HOME)
        return await _page(request, fault.message, 429 if isinstance(fault, RequestLimit) else 400)
    return await complete(request, entry, Carried())


async def _page(request: PageRequest, fault: str = "", status: int = 200) -> LinkPage:
    pending = await find_pending(request.context.reads.db, request.cookies.get(BROWSER))
    return LinkPage(
        title="Sign in",
        action=request.path,
        email="" if pending is None else pending.email,
        is_here=pending is not None,
        fault=fault,
        status=status,
        holds_secret=True,
    )
