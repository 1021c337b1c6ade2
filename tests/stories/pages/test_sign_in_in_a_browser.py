"""Signing in, in Chromium: with and without script, by keyboard, and with passkeys that are made, lost and restored."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, CDPSession, Page, expect
from pydantic import SecretStr

from gigarouter.listeners import Listener
from gigarouter.ports import LOOPBACK, Port, free_port
from gigarouter.settings import Settings
from gigarouter.web_wiring import pages as run_pages
from router.changes.transaction import transact
from router.identity.members import Role
from router.identity.people.invitations import invite_operator
from tests.builders.database import ACTOR, DatabaseBuilder
from tests.builders.mails import Inbox
from tests.harness.browser import WIDE, Window
from tests.harness.pictures import take_pictures
from web.app import WebApp
from web.routes import ROUTES

pytestmark = pytest.mark.anyio
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


class Place:
    """The pages on a port, by the machine's name: a number has no passkeys."""

    def __init__(self, url: str, inbox: Inbox) -> None:
        self.url = url
        self.inbox = inbox


@pytest.fixture(scope="module")
async def place(browser: Browser, build: DatabaseBuilder, secret_key: str) -> AsyncIterator[Place]:
    number = free_port(LOOPBACK, 0)
    port = Port(LOOPBACK, number, "GIGAROUTER_WEB_PORT")
    url, keys = SecretStr(build.url), [SecretStr(secret_key)]
    settings = Settings(database_url=url, secret_keys=keys, web_port=number, free_credit_usd=5)
    async with run_pages(settings) as context:
        listener = Listener(WebApp(context, ROUTES), port, settings, drain_s=1)
        await listener.open()
        try:
            yield Place(f"http://localhost:{number}", Inbox(context.people.writes))
        finally:
            listener.end()
            await listener.shutdown(port.sockets)


@pytest.fixture
async def windows(browser: Browser, place: Place) -> AsyncIterator[Any]:
    opened: list[Window] = []

    async def new(**options: Any) -> Window:
        context = await browser.new_context(base_url=place.url, viewport=WIDE, **options)  # type: ignore[arg-type]
        opened.append(Window(place, context, await context.new_page()))  # type: ignore[arg-type]
        return opened[-1]

    yield new
    for window in opened:
        await window.close()


async def type_code(place: Place, page: Page, email: str) -> None:
    await page.get_by_role("textbox", name="E-mail address").fill(email)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Type the code")
    await page.get_by_role("textbox", name="Code").fill(await place.inbox.code(email))
    await page.keyboard.press("Enter")


async def with_authenticator(page: Page) -> tuple[CDPSession, str]:
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    made = await session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return session, made["authenticatorId"]


@pytest.mark.parametrize("script", [True, False])
async def test_a_key_in_two_pages_and_one_mail(windows: Any, place: Place, script: bool) -> None:
    window = await windows(java_script_enabled=script)
    email = f"newcomer-{script}@example.com".lower()
    page = await window.open("/sign-in?next=/models")
    await type_code(place, page, email)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your account is open")
    await expect(page.get_by_label("Your key", exact=True).locator("code")).to_have_text(re.compile("^gr_live_"))
    await expect(page.get_by_role("link", name="Back to where you were")).to_have_attribute("href", "/models")
    if script:
        await expect(page.get_by_text("Waiting for your first call…")).to_be_visible()
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, "first-key")


async def test_every_page_of_signing_in_is_accessible_and_fits(windows: Any, place: Place) -> None:
    for scheme in ("light", "dark"):
        window = await windows(color_scheme=scheme)
        page = await window.open("/sign-in")
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, "sign-in")
        await type_code(place, page, f"{scheme}-{'long' * 12}@example.com")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your account is open")
        for path, name in {"/me": "me", "/me/sessions": "sessions", "/me/passkeys": "passkeys"}.items():
            await window.open(path)
            await window.check_accessible()
            await window.check_fits()
            await take_pictures(window, name)
        await window.open("/me")
        await page.get_by_role("row").nth(1).get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Members")
        await page.get_by_role("textbox", name="E-mail address").fill("guest@example.com")
        await page.get_by_role("button", name="Send the invitation").click()
        await expect(page.get_by_role("status").first).to_have_text("The invitation is on its way.")
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, "members")


async def test_a_passkey_is_made_used_lost_and_restored(windows: Any, place: Place) -> None:
    window, email = await windows(), "passkey@example.com"
    page = await window.open("/sign-in")
    session, authenticator = await with_authenticator(page)
    await type_code(place, page, email)
    await page.get_by_role("link", name="Make a passkey").click()
    await page.get_by_role("textbox", name="What it is called").fill("laptop")
    await page.get_by_role("button", name="Make a passkey").click()
    await expect(page.get_by_role("textbox", name="Name of laptop")).to_be_visible()
    await window.open("/me")
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await window.open("/sign-in?next=/me/sessions")
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Where you are signed in")
    await expect(page.get_by_role("cell", name="passkey", exact=True)).to_be_visible()
    # The device is lost: its passkeys are gone with it.
    await session.send("WebAuthn.clearCredentials", {"authenticatorId": authenticator})
    await window.open("/me")
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await window.open("/sign-in")
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_role("alert")).to_have_text("No passkey was used.")
    await type_code(place, page, email)
    await expect(page.get_by_role("heading", level=1)).to_have_text("You")
    await window.open("/me/passkeys")
    await page.get_by_role("button", name="Remove laptop").click()
    await expect(page.get_by_text("You have no passkey yet.")).to_be_visible()
    await page.get_by_role("textbox", name="What it is called").fill("phone")
    await page.get_by_role("button", name="Make a passkey").click()
    await expect(page.get_by_role("textbox", name="Name of phone")).to_be_visible()
    kinds = await place.inbox.kinds(email)
    assert kinds.count("passkey_added") == 2
    assert "passkey_removed" in kinds


async def test_an_operator_registers_on_the_page_of_the_invitation(windows: Any, place: Place) -> None:
    _, path = await transact(
        place.inbox.db, ACTOR, lambda work: invite_operator(work, "op@example.com", Role.OPS, invited_by="root")
    )
    window = await windows()
    page = await window.open(path)
    await with_authenticator(page)
    await window.check_accessible()
    await take_pictures(window, "operator")
    await page.get_by_role("button", name="Make the passkey").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You")
    await page.get_by_role("button", name="Sign out", exact=True).click()
    window.expected.add(404)
    answer = await page.goto("/ops/accounts/acct_" + "0" * 32 + "/name")
    assert answer is not None
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_role("heading", level=1)).not_to_have_text("Sign in")
