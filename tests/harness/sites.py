"""The pages with real sessions, for browsers without JavaScript, and the mails that they cause."""

from sqlalchemy import text

from router.changes.transaction import transact
from router.identity.members import Role
from router.identity.people.invitations import invite_operator
from tests.builders.database import ACTOR
from tests.builders.mails import Inbox
from tests.harness.authenticator import Authenticator
from tests.harness.plain_browser import PlainBrowser
from web.app import WebApp
from web.context import WebContext
from web.routes import ROUTES


class Site:
    """The pages as they are served, and the mails that they cause."""

    def __init__(self, context: WebContext) -> None:
        self.context = context
        self.app = WebApp(context, ROUTES)
        self.inbox = Inbox(context.people.writes)

    def browser(self, address: str = "192.0.2.7") -> PlainBrowser:
        return PlainBrowser(self.app, address)

    async def code(self, email: str) -> str:
        return await self.inbox.code(email)

    async def execute(self, statement: str) -> None:
        """What time or somebody else does to the database."""
        async with self.context.people.writes.transaction() as tx:
            await tx.execute(text(statement))

    async def signed_in(self, email: str, address: str = "192.0.2.7") -> PlainBrowser:
        browser = self.browser(address)
        await browser.get("/sign-in")
        await browser.press("Send me a code", email=email)
        await browser.press("Sign in", code=await self.code(email))
        assert browser.status == 200
        return browser

    async def operator(self, email: str, role: Role = Role.OPS) -> PlainBrowser:
        """A browser in which a new operator is signed in with a passkey."""
        _, path = await transact(
            self.context.people.writes, ACTOR, lambda work: invite_operator(work, email, role, invited_by="root")
        )
        device, browser = Authenticator(self.context.people.party.origin), self.browser()
        await browser.get(path)
        made = await browser.once("POST", f"{path}/options", data={})
        await browser.post(path, {"credential": device.create(made.text), "name": "token"})
        wanted = await browser.once("POST", "/sign-in/passkey/options", data={})
        await browser.post("/sign-in/passkey", {"credential": device.get(wanted.text), "next": "/ops"})
        assert browser.path == "/ops", browser.text
        return browser
