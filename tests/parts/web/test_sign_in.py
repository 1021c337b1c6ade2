"""Signing in, in a browser without JavaScript: from the address to the first key, and back to where one was."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event, text

from gigarouter.settings import Settings
from gigarouter.web_wiring import pages as run_pages
from router.changes.transaction import transact
from router.identity.members import Role, add_member, list_members
from router.identity.people.invitations import invite_operator
from store.ids import AccountId, wire
from tests.builders.database import ACTOR
from tests.harness.authenticator import Authenticator
from tests.harness.plain_browser import BASE, PlainBrowser
from tests.harness.sites import Site
from web.routes import ROUTES

pytestmark = pytest.mark.anyio
LOCAL = "http://localhost:8001"


JUNK = {
    "code": "٣" * 6,
    "email": "\ud7ff@\u202e",
    "credential": "[[[" * 99,
    "name": "a\nb",
    "zone": "x",
    "role": "ops",
}


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with run_pages(settings.model_copy(update={"free_credit_usd": 5})) as context:
        yield Site(context)


async def account_of(site: Site, browser: PlainBrowser) -> str:
    await browser.get("/me")
    found = re.search(r'<code class="id"[^>]*>(acct_[0-9a-f]{32})', browser.text)
    assert found is not None
    return found[1]


async def test_from_a_model_to_a_key_in_one_mail_and_back(site: Site) -> None:
    browser = site.browser()
    await browser.get("/sign-in?next=/models?q=lm")
    assert "5 USD" in browser.text
    await browser.press("Send me a code", email="first@example.com")
    assert browser.path == "/sign-in/code"
    assert "first@example.com" in browser.text
    await browser.press("Sign in", code=await site.code("first@example.com"))
    assert browser.status == 200
    assert browser.page.headers["cache-control"] == "no-store"
    assert "content-encoding" not in browser.page.headers
    keys = set(re.findall(r"gr_(?:live|test)_\w{8}_\w{32}_\w{6}", browser.text))
    assert len(keys) == 2
    assert "5.00 USD of free credit" in browser.text
    assert 'href="/models?q=lm"' in browser.text
    # The key is on no other page, and none of the cookies outlives what it is for.
    assert set(browser.cookies) == {"__Host-session"}
    for path in ("/me", "/sign-in", "/me/passkeys"):
        await browser.get(path)
        assert not [key for key in keys if key in browser.text]
    account = await account_of(site, browser)
    async with site.context.reads.db.transaction() as tx:
        path = await tx.scalar(
            text("SELECT facts ->> 'path' FROM mails WHERE kind = 'welcome' AND address = 'first@example.com'")
        )
    assert path == f"/accounts/{account}", "the mail leads to the account"
    await browser.get(f"/accounts/{account}/audit?action=key")
    assert browser.text.count('<th scope="row">first@example.com</th><td>key.create</td>') == 2, "nobody else made them"
    again = await site.signed_in("first@example.com")
    assert again.path == "/me"


async def test_a_link_that_is_opened_signs_nobody_in_and_its_button_does_where_it_was_wanted(site: Site) -> None:
    browser, phone, scanner = site.browser(), site.browser("198.51.100.4"), site.browser("203.0.113.9")
    await browser.get("/sign-in")
    await browser.press("Send me a code", email="link@example.com")
    link = (await site.inbox.sign_in("link@example.com")).path
    for _ in range(3):
        await scanner.get(link)
        assert (await scanner.once("HEAD", link)).status_code == 200
    assert not scanner.has("Sign in")
    assert "Type the six digits" in scanner.text
    # A bot that presses what it is shown, and one that makes the form up.
    await scanner.post(link)
    assert scanner.status == 400
    assert not scanner.cookies
    await phone.get(link)
    assert "another browser" in phone.text
    await browser.get(link)
    assert "link@example.com" in browser.text
    await browser.press("Sign in")
    assert "__Host-session" in browser.cookies
    used = site.browser()
    await used.post(link)
    assert used.status == 400


async def test_a_wrong_code_is_said_and_what_was_typed_wrong_is_no_end(site: Site) -> None:
    browser = site.browser()
    await browser.get("/sign-in")
    await browser.press("Send me a code", email="not an address")
    assert browser.status == 400
    assert 'value="not an address"' in browser.text
    await browser.press("Send me a code", email="wrong@example.com")
    first = await site.code("wrong@example.com")
    wrong = "000000" if first != "000000" else "111111"
    await browser.press("Sign in", code=wrong)
    assert browser.status == 400
    assert "4 tries are left" in browser.text
    await browser.press("Send a new code")
    second = await site.code("wrong@example.com")
    await browser.press("Sign in", code=first if first != second else wrong)
    assert "newer code" in browser.text or "not the code" in browser.text
    await browser.press("Sign in", code=second)
    assert "Your key" in browser.text


async def test_where_one_was_is_a_page_of_ours_or_none(site: Site) -> None:
    for number, evil in enumerate(
        (
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/models\r\nx: y",
            "javascript:alert(1)",
            "/sign-out",
        )
    ):
        browser = site.browser()
        await browser.get(f"/sign-in?next={evil}" if "\r" not in evil else "/sign-in?next=/models%0d%0ax:%20y")
        email = f"next{number}@example.com"
        await browser.press("Send me a code", email=email)
        await browser.press("Sign in", code=await site.code(email))
        assert "evil.example" not in browser.text.partition("<main")[2]
        session = dict(browser.cookies)
        answer = await browser.once("GET", f"/sign-in?next={evil.strip()}" if "\r" not in evil else "/sign-in")
        assert answer.headers["location"] == "/me"
        assert browser.cookies == session


async def test_sessions_are_seen_and_ended_and_a_cookie_that_is_cut_or_double_is_nobodys(site: Site) -> None:
    here, there = await site.signed_in("sess@example.com"), await site.signed_in("sess@example.com", "198.51.100.9")
    other = await site.signed_in("else@example.com")
    await other.get("/me/sessions")
    await here.get("/me/sessions")
    assert "198.51.100.0/24" in here.text
    action = here.form("Sign out Firefox").action
    stolen = await other.once("POST", action)
    missing = await other.once("POST", "/me/sessions/sess_" + "0" * 32 + "/end")
    assert stolen.status_code == missing.status_code == 404
    assert re.sub("req_[0-9a-f]+", "", stolen.text) == re.sub("req_[0-9a-f]+", "", missing.text)
    await here.press("Sign out Firefox")
    assert (await there.once("GET", "/me")).headers["location"].startswith("/sign-in")
    secret = here.cookies["__Host-session"]
    cut, double = site.browser(), site.browser()
    cut.cookies["__Host-session"] = secret[:-1]
    assert (await cut.once("GET", "/me")).status_code == 303
    two = {"cookie": f"__Host-session={secret}; __Host-session={other.cookies['__Host-session']}"}
    assert (await double.once("GET", "/me", headers=two)).status_code == 303
    await here.get("/me")
    await here.press("Sign out")
    assert "__Host-session" not in here.cookies
    kept = site.browser()
    kept.cookies["__Host-session"] = secret
    assert (await kept.once("GET", "/me")).status_code == 303


async def test_a_stale_or_ended_session_loses_nothing_that_was_typed(site: Site) -> None:
    browser = await site.signed_in("stale@example.com")
    account = await account_of(site, browser)
    path = f"/accounts/{account}/members"
    await browser.get(path)
    await site.execute("UPDATE sessions SET created_at = created_at - interval '16 minutes'")
    await browser.press("Send the invitation", email="new@example.com", role="finance")
    assert browser.status == 403
    assert "Is it still you?" in browser.text
    await browser.press("Send me a code")
    await browser.press("Sign in", code=await site.code("stale@example.com"))
    assert "You are signed in" in browser.text
    await browser.press("Send it now")
    assert "The invitation is on its way" in browser.text
    assert "new@example.com" in browser.text
    # Ended elsewhere in the middle of a form.
    await browser.get("/me")
    await site.execute("UPDATE sessions SET ended_at = now()")
    await browser.press("Save", name="Stella & <Co>", zone="Europe/Berlin")
    assert browser.status == 401
    assert "What you typed is kept" in browser.text
    await browser.press("Send me a code", email="stale@example.com")
    await browser.press("Sign in", code=await site.code("stale@example.com"))
    await browser.press("Send it now")
    assert 'value="Stella &amp; &lt;Co&gt;"' in browser.text
    assert 'value="Europe/Berlin"' in browser.text


async def test_an_owner_invites_and_the_invited_joins_and_is_changed_and_removed(site: Site) -> None:
    owner = await site.signed_in("owner@example.com")
    account = await account_of(site, owner)
    path = f"/accounts/{account}/members"
    await owner.get(path)
    await owner.press("Send the invitation", email="guest@example.com", role="finance")
    await owner.press("Send again to guest@example.com")
    stranger = await site.signed_in("stranger@example.com")
    invitation = (await site.inbox.invitation("guest@example.com")).path
    assert (await stranger.once("GET", invitation)).status_code == 404
    assert (await stranger.once("POST", invitation, data={"answer": "accept"})).status_code == 404
    guest = site.browser()
    await guest.get(invitation)
    assert guest.path.startswith("/sign-in?next=")
    await guest.press("Send me a code", email="guest@example.com")
    await guest.press("Sign in", code=await site.code("guest@example.com"))
    assert guest.path == invitation
    await guest.press("Join")
    assert guest.path.startswith(f"/accounts/{account}/")
    await guest.get(path)
    assert "guest@example.com" in guest.text
    assert not guest.has("Send the invitation")
    assert (
        await guest.once("POST", f"{path}/invite", data={"email": "x@y.example", "role": "owner"})
    ).status_code == 403
    await owner.get(path)
    await owner.press("Change the role of guest", role="developer")
    assert "The role is changed" in owner.text
    await guest.get(path)
    assert "<td>developer</td>" in guest.text
    await owner.press("Remove guest")
    for page in (path, path.replace(account, "acct_" + "0" * 32)):
        assert (await guest.once("GET", page)).status_code == 404
    await owner.get(path)
    await owner.press("Leave the account")
    assert "last owner" in owner.text


async def test_an_operator_without_a_passkey_reaches_nothing_and_the_invitation_registers_one(site: Site) -> None:
    writes = site.context.people.writes
    await transact(writes, ACTOR, lambda work: add_member(work, None, "ops@example.com", Role.OPS))
    by_mail = await site.signed_in("ops@example.com")
    async with writes.transaction() as tx:
        members = await list_members(tx, None)
    assert members
    account = wire(AccountId, AccountId(members[0].id))
    assert (await by_mail.once("GET", f"/ops/accounts/{account}/name")).status_code == 404
    assert (await by_mail.once("POST", "/me/passkeys/options", data={})).status_code == 403
    _, path = await transact(
        writes, ACTOR, lambda work: invite_operator(work, "ops@example.com", Role.OPS, invited_by="root")
    )
    device, browser = Authenticator(BASE), site.browser()
    await browser.get(path)
    made = await browser.once("POST", f"{path}/options", data={})
    assert made.headers["content-type"] == "application/json"
    # A number is no name that browsers make passkeys for; the pages say so in `up` by their address.
    device.origin = site.context.people.party.origin
    await browser.post(path, {"credential": device.create(made.text), "name": "token"})
    assert browser.path == "/ops", "an operator comes to the console"
    asked = await browser.once("POST", "/sign-in/passkey/options", data={})
    again = site.browser()
    again.cookies |= {"__Host-browser": browser.cookies["__Host-browser"]}
    await again.post("/sign-in/passkey", {"credential": device.get(asked.text), "next": "/me/sessions"})
    assert again.path == "/me/sessions"
    assert "passkey" in again.text
    await again.post("/sign-in/passkey", {"credential": "nonsense"})
    assert again.status == 400


async def test_a_page_of_a_signed_in_reader_sends_few_statements(site: Site) -> None:
    browser = await site.signed_in("statements@example.com")
    account = await account_of(site, browser)
    engine = site.context.reads.db.engine.sync_engine
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    try:
        for path in ("/me", "/me/sessions", "/me/passkeys", f"/accounts/{account}/members"):
            statements.clear()
            await browser.get(path)
            assert browser.status == 200
            assert len(statements) <= 6, statements
    finally:
        event.remove(engine, "before_cursor_execute", count)


async def test_the_same_form_twice_and_the_way_back_lose_nobody(site: Site) -> None:
    browser = await site.signed_in("twice@example.com")
    await browser.get("/sign-in/code")
    assert browser.path == "/me"
    await browser.post("/sign-in/code", {"code": await site.code("twice@example.com"), "next": "/me/sessions"})
    assert (browser.status, browser.path) == (200, "/me/sessions")
    await browser.post((await site.inbox.sign_in("twice@example.com")).path)
    assert (browser.status, browser.path) == (200, "/me")


async def test_a_person_in_two_accounts_switches_and_the_account_is_in_the_address(site: Site) -> None:
    browser = await site.signed_in("both@example.com")
    await browser.get("/me")
    await browser.press("Open an account")
    assert "Your key" in browser.text
    await browser.get("/me")
    first, second = dict.fromkeys(re.findall("acct_[0-9a-f]{32}", browser.text))
    await browser.get(f"/accounts/{first}/members")
    assert f'href="/accounts/{second}/members"' in browser.text
    await browser.get(f"/accounts/{second}")
    assert (browser.status, browser.path) == (200, f"/accounts/{second}/usage")
    for _ in range(3):
        await browser.get("/me")
        await browser.press("Open an account")
    assert browser.status == 200
    await browser.get("/me")
    await browser.press("Open an account")
    assert browser.status == 409
    assert "You own 5 accounts" in browser.text


async def test_whatever_is_typed_gets_a_page_with_a_sentence(site: Site) -> None:
    browser = await site.signed_in("junk@example.com")
    nobody = site.browser("203.0.113.77")
    paths = [row.path for row in ROUTES if row.path.startswith(("/sign-in", "/me", "/invitations", "/sign-out"))]
    for path in paths:
        at = re.sub(r"\{[^}]+\}", "..%2f\u0663%00", path)
        for reader in (browser, nobody):
            for data in ({}, JUNK):
                answers = [await reader.once("POST", at, data=data), await reader.once("GET", at)]
                for answer in answers:
                    assert answer.status_code < 500, (at, answer.text)
                    assert "\u202e" not in answer.text
    flood = [await nobody.once("POST", "/sign-in", data={"email": "flood@example.com"}) for _ in range(8)]
    limited = flood[-1]
    assert limited.status_code == 429
    assert "Try again after" in limited.text
