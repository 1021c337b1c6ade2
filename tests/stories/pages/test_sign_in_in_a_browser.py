"""Signing in, in Chromium: with and without script, by keyboard, and with passkeys that are made, lost and restored."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect
from pydantic import SecretStr

from gigarouter.settings import Settings
from router.changes.transaction import transact
from router.identity.members import Role
from router.identity.people.invitations import invite_operator
from tests.builders.database import ACTOR, DatabaseBuilder
from tests.harness.pictures import take_pictures
from tests.harness.real_pages import RealPages, real_pages, with_authenticator

pytestmark = pytest.mark.anyio
PERSONAL = {"/me": "me", "/me/sessions": "sessions", "/me/passkeys": "passkeys"}


@pytest.fixture(scope="module")
async def served(browser: Browser, build: DatabaseBuilder, secret_key: str) -> AsyncIterator[RealPages]:
    settings = Settings(database_url=SecretStr(build.url), secret_keys=[SecretStr(secret_key)])
    async with real_pages(settings, browser) as running:
        yield running


@pytest.fixture
async def pages(served: RealPages) -> AsyncIterator[RealPages]:
    yield served
    await served.close_windows()


@pytest.mark.parametrize("script", [True, False])
async def test_a_key_in_two_pages_and_one_mail(pages: RealPages, script: bool) -> None:
    window = await pages.window(java_script_enabled=script)
    email = f"newcomer-{script}@example.com".lower()
    page = await window.open("/sign-in?next=/models")
    await pages.type_code(page, email)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your account is open")
    await expect(page.get_by_label("Your key", exact=True).locator("code")).to_have_text(re.compile("^gr_live_"))
    await expect(page.get_by_role("link", name="Back to where you were")).to_have_attribute("href", "/models")
    if script:
        await expect(page.get_by_text("Waiting for your first call…")).to_be_visible()
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, "first-key")


async def test_every_page_of_signing_in_is_accessible_and_fits(pages: RealPages) -> None:
    for scheme in ("light", "dark"):
        window = await pages.window(color_scheme=scheme)
        page = await window.open("/sign-in")
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, "sign-in")
        await pages.type_code(page, f"{scheme}-{'long' * 12}@example.com")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your account is open")
        for path, name in (PERSONAL if scheme == "light" else {"/me": "me"}).items():
            await window.open(path)
            await window.check_accessible()
            await window.check_fits()
            await take_pictures(window, name)
        await window.open("/me")
        await page.get_by_role("row").nth(1).get_by_role("link").click()
        await page.get_by_role("link", name="Members", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Members")
        await page.get_by_role("textbox", name="E-mail address").fill("guest@example.com")
        await page.get_by_role("button", name="Send the invitation").click()
        await expect(page.get_by_role("status").first).to_have_text("The invitation is on its way.")
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, "members")


async def test_a_passkey_is_made_used_lost_and_restored(pages: RealPages) -> None:
    window, email = await pages.window(), "passkey@example.com"
    page = await window.open("/sign-in")
    session, authenticator = await with_authenticator(page)
    await pages.type_code(page, email)
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
    await pages.type_code(page, email)
    await window.open("/me/passkeys")
    await page.get_by_role("button", name="Remove laptop").click()
    await expect(page.get_by_text("You have no passkey yet.")).to_be_visible()
    await page.get_by_role("textbox", name="What it is called").fill("phone")
    await page.get_by_role("button", name="Make a passkey").click()
    await expect(page.get_by_role("textbox", name="Name of phone")).to_be_visible()
    kinds = await pages.inbox.kinds(email)
    assert kinds.count("passkey_added") == 2
    assert "passkey_removed" in kinds


async def test_an_operator_registers_on_the_page_of_the_invitation(pages: RealPages) -> None:
    _, path = await transact(
        pages.inbox.db, ACTOR, lambda work: invite_operator(work, "op@example.com", Role.OPS, invited_by="root")
    )
    window = await pages.window()
    page = await window.open(path)
    await with_authenticator(page)
    await window.check_accessible()
    await take_pictures(window, "operator")
    await page.get_by_role("button", name="Make the passkey").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Operations")
    await window.open("/me")
    await page.get_by_role("button", name="Sign out", exact=True).click()
    window.expected.add(404)
    answer = await page.goto("/ops/accounts/acct_" + "0" * 32 + "/name")
    assert answer is not None
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_role("heading", level=1)).not_to_have_text("Sign in")
