"""The pages with real sessions, on a port of loopback by the machine's name, and the mails that they cause."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import default
from typing import Any

from playwright.async_api import Browser, CDPSession, Page, expect
from pydantic import SecretStr

from gigarouter.listeners import Listener
from gigarouter.mail_job import make_sender
from gigarouter.ports import LOOPBACK, Port
from gigarouter.settings import Settings
from gigarouter.web_wiring import pages
from router.changes.transaction import transact
from router.identity.members import Role
from router.identity.people.invitations import invite_operator
from tests.builders.database import ACTOR
from tests.builders.mails import Inbox
from tests.harness.browser import WIDE, Window
from tests.harness.mail_server import mail_server
from tests.harness.processes import free_port
from web.app import WebApp
from web.routes import ROUTES

# The model of the shipped catalogue that is live in stories with calls.
LIVE = "sentence-transformers/all-MiniLM-L6-v2"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


async def with_authenticator(page: Page) -> tuple[CDPSession, str]:
    """Give a window a device that keeps passkeys, and its reader's finger; the way to it, and its id."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    made = await session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return session, made["authenticatorId"]


class RealPages:
    """Where the pages are. Their name is no number, for which browsers have no passkeys."""

    def __init__(self, url: str, settings: Settings, inbox: Inbox, browser: Browser) -> None:
        self.url = url
        self.settings = settings
        self.inbox = inbox
        self.browser = browser
        self.windows: list[Window] = []

    async def window(self, **options: Any) -> Window:
        """A new window of a reader who is nobody yet; ``options`` are those of Playwright's contexts."""
        context = await self.browser.new_context(base_url=self.url, viewport=WIDE, **options)  # type: ignore[arg-type]
        self.windows.append(Window(self, context, await context.new_page()))
        return self.windows[-1]

    async def close_windows(self) -> None:
        """End all windows, and fail for what went wrong in one."""
        windows, self.windows = self.windows, []
        for window in windows:
            await window.close()

    async def sent(self, email: str) -> list[str]:
        """Send what waits, as jobs do; the text of each mail that its server then took for an address."""
        async with mail_server() as (port, received):
            to = {"smtp_url": SecretStr(f"smtp://127.0.0.1:{port}"), "mail_from": "pages@example.com"}
            sender = make_sender(self.settings.model_copy(update=to))
            assert sender is not None
            while await sender.send_waiting(self.inbox.db):
                pass
        mails = [message_from_bytes(one, policy=default) for one in received]
        texts = [mail.get_body(("plain",)) for mail in mails if email in str(mail["to"])]
        return [text.get_content() for text in texts if text is not None]

    async def type_code(self, page: Page, email: str) -> None:
        """Sign in by e-mail from the page of the form."""
        await page.get_by_role("textbox", name="E-mail address").fill(email)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Type the code")
        await page.get_by_role("textbox", name="Code").fill(await self.inbox.code(email))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).not_to_have_text("Type the code")


async def an_operator(pages: RealPages, role: Role) -> Window:
    """The window of an operator who opens the address that inviting them on the machine printed."""
    email = f"{role.value}@example.com"
    _, path = await transact(pages.inbox.db, ACTOR, lambda work: invite_operator(work, email, role, invited_by="root"))
    window = await pages.window()
    await with_authenticator(await window.open(path))
    return window


@asynccontextmanager
async def real_pages(settings: Settings, browser: Browser) -> AsyncIterator[RealPages]:
    """Serve the pages."""
    number = free_port()
    port = Port(LOOPBACK, number, "GIGAROUTER_WEB_PORT")
    settings = settings.model_copy(update={"web_port": number, "free_credit_usd": 5})
    async with pages(settings) as context:
        listener = Listener(WebApp(context, ROUTES), port, settings, drain_s=1)
        await listener.open()
        try:
            yield RealPages(f"http://localhost:{number}", settings, Inbox(context.people.writes), browser)
        finally:
            listener.end()
            await listener.shutdown(port.sockets)
