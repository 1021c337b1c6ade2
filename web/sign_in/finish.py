"""Finishes signing in: the session's cookie, and on to where somebody was, with what they had typed there."""

from datetime import datetime
from typing import ClassVar
from urllib.parse import urlencode

import msgspec

from billing.money import to_usd
from catalog.values import Status
from router.admin.own_accounts import Opened
from router.admin.sign_in import Entry
from router.identity.members import Role
from store.ids import AccountId, SessionId, wire
from web.answers import Answer, Page, Redirect
from web.fields import read_pairs
from web.forms import Hidden
from web.request import PageRequest
from web.sign_in.cookies import BROWSER, NEXT, OUTSIDE, SESSION, forget, next_of, session_cookie

HOME = "/me"
STAFF_HOMES = {Role.OPS: "/ops", Role.FINANCE_ADMIN: "/finance"}


class Carried(msgspec.Struct, frozen=True):
    """What goes through all steps of signing in: where somebody was, and the form that was refused there."""

    next: str = ""
    held: str = ""


class ContinuePage(Page, frozen=True, kw_only=True):
    """The form that was refused, to be sent again: nothing that was typed is lost."""

    template: ClassVar[str] = "sign_in/continue.html"

    action: str
    hidden: tuple[Hidden, ...]


class NewAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account that was opened, as the operation answers it; ``credit_until``: where there is free credit."""

    account: str
    account_name: str
    key: str
    test_key: str
    credit_usd: str
    credit_until: datetime | None


class FirstPage(Page, frozen=True, kw_only=True):
    """A new account's key, this once, and what to do with it."""

    template: ClassVar[str] = "sign_in/first.html"
    scripts: ClassVar[tuple[str, ...]] = ("first-call.js",)

    opened: NewAccount
    credit: str
    model: str
    curl: str
    dotenv: str
    waiting: str
    onward: str


async def complete(request: PageRequest, entry: Entry, carried: Carried) -> Answer:
    """The answer to whoever has just signed in, and is the reader from here on."""
    await request.become({SESSION: entry.secret})
    cookies = (session_cookie(entry.secret), forget(BROWSER), forget(NEXT), forget(OUTSIDE))
    where = carried.next or next_of(request.cookies)
    if entry.opened is not None:
        return complete_opened(request, _new_account(entry.opened), Carried(where), cookies)
    if carried.held and request.is_form(carried.next):
        return ContinuePage(
            title="You are signed in",
            action=carried.next,
            hidden=tuple(Hidden(name, value) for name, value in read_pairs(carried.held.encode(), "form")),
            cookies=cookies,
            holds_secret=True,
        )
    return Redirect(to=request.page_or(where, home_of(request)), cookies=cookies)


def home_of(request: PageRequest) -> str:
    """Where somebody goes who was nowhere before: operators to their console, everybody else to their accounts."""
    staff = request.viewer.staff
    return HOME if staff is None else STAFF_HOMES.get(staff.role, HOME)


def held_of(request: PageRequest) -> Carried:
    """A form that was refused for want of a fresh sign-in, to carry along."""
    return Carried(request.path, urlencode(request.form))


def replaced(request: PageRequest) -> SessionId | None:
    """The session that a new one in the same browser takes the place of."""
    signed_in = request.viewer.signed_in
    return None if signed_in is None else signed_in.session.id


def complete_opened(
    request: PageRequest, opened: NewAccount, carried: Carried, cookies: tuple[str, ...] = ()
) -> FirstPage:
    """The page of an account that was opened a moment ago, with its key."""
    onward = request.page_or(carried.next, "")
    live = [model.id for model in request.context.reads.catalog.all() if model.status is Status.LIVE]
    wanted = onward.removeprefix("/models/")
    model = wanted if wanted in live else next(iter(live), "")
    base, key = f"{request.context.api_url}/v1", opened.key
    body = f'{{"model": "{model}", "input": "hello"}}'
    curl = (
        f"curl {base}/embeddings \\\n  -H 'Authorization: Bearer {key}' \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d '{body}'"
    )
    return FirstPage(
        title="Your account is open",
        opened=opened,
        credit=opened.credit_usd if opened.credit_until else "",
        model=model,
        curl=curl if model else "",
        dotenv=f"OPENAI_API_KEY={key}\nOPENAI_BASE_URL={base}\n",
        waiting=f"/accounts/{opened.account}/first-call",
        onward=onward,
        cookies=cookies,
        holds_secret=True,
    )


def _new_account(opened: Opened) -> NewAccount:
    return NewAccount(
        account=wire(AccountId, opened.account_id),
        account_name=opened.account_name,
        key=opened.key.text,
        test_key=opened.test_key.text,
        credit_usd=to_usd(opened.credit),
        credit_until=opened.credit_until,
    )
