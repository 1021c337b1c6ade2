"""Takes the six digits of the mail, in the browser that wanted them."""

from typing import ClassVar

import msgspec

from router.admin.sign_in import sign_in_with_code
from router.errors import InvalidRequest, RequestLimit
from router.identity.people.codes import PendingSignIn, check_code, find_pending
from web.answers import Answer, Page, Redirect
from web.forms import Form
from web.request import PageRequest
from web.sign_in.cookies import BROWSER
from web.sign_in.finish import HOME, Carried, complete, replaced


class CodePage(Page, frozen=True, kw_only=True):
    """The form for the digits. ``email`` is where they were sent; empty where nothing waits in this browser."""

    template: ClassVar[str] = "sign_in/code.html"

    form: Form
    carried: Carried
    email: str


class CodeForm(msgspec.Struct, frozen=True):
    """The digits, and what is carried along."""

    code: str = ""
    next: str = ""
    held: str = ""


async def show(request: PageRequest) -> Answer:
    """The form; whoever wants no code is led to where one is sent."""
    pending = await find_pending(request.context.reads.db, request.cookies.get(BROWSER))
    if pending is None:
        return Redirect(to=HOME if request.viewer.is_known else "/sign-in")
    return code_page(pending, Carried())


async def act(request: PageRequest) -> Answer:
    """Compare the digits, and sign in."""
    form = request.form_as(CodeForm)
    carried, browser = Carried(form.next, form.held), request.cookies.get(BROWSER)
    people, place = request.context.people, request.place
    try:
        checked = await check_code(people.writes, browser, form.code, place.network)
        entry = await sign_in_with_code(people.writes, checked, place, people.credit, replaces=replaced(request))
    except (InvalidRequest, RequestLimit) as fault:
        if is_done_already(request, fault):
            return Redirect(to=request.page_or(form.next, HOME))
        pending = await find_pending(people.writes, browser)
        status = 429 if isinstance(fault, RequestLimit) else 400
        return code_page(pending, carried, form=Form({}, {"code": fault.message}), status=status)
    return await complete(request, entry, carried)


def is_done_already(request: PageRequest, fault: InvalidRequest | RequestLimit) -> bool:
    """Whether the same form was sent again, or the mail's link was pressed meanwhile: this browser is signed in."""
    is_over = fault.details.get("reason") == "used" or BROWSER not in request.cookies
    return request.viewer.is_known and is_over


def code_page(
    pending: PendingSignIn | None,
    carried: Carried,
    *,
    form: Form | None = None,
    status: int = 200,
    cookies: tuple[str, ...] = (),
) -> CodePage:
    """The page of the form."""
    return CodePage(
        title="Type the code",
        form=form or Form(),
        carried=carried,
        email="" if pending is None else pending.email,
        status=status,
        cookies=cookies,
        holds_secret=True,
    )
