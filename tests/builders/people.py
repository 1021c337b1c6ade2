"""People at the door: they have codes mailed, read them, and sign in, on a database of the test's own."""

from datetime import datetime, timedelta

from typing_extensions import override

from router.admin.sign_in import Entry, actor_of, sign_in_with_code, sign_in_with_passkey
from router.changes.transaction import UnitOfWork, transact
from router.identity.people.codes import check_code, check_link, request_code
from router.identity.people.passkeys import RelyingParty, begin_registration, begin_sign_in, finish_registration
from router.identity.people.sessions import find_session
from router.identity.people.set_up import FreeCredit
from router.identity.people.values import Person, Place, SignedIn
from store.clock import Clock
from store.postgres import Database
from tests.builders.mails import Inbox
from tests.harness.authenticator import Authenticator

PARTY = RelyingParty("pages.example", "gigarouter", "https://pages.example")
HOME, ELSEWHERE = Place("Firefox on Linux", "192.0.2.0/24"), Place("Chrome on Windows", "198.51.100.0/24")
BROWSER = "b" * 43


class LaterClock(Clock):
    """Postgres' time, and more."""

    ahead = timedelta()

    @override
    def now(self) -> datetime:
        return super().now() + self.ahead


class Door:
    """Where people sign in. ``inbox`` has the mails that were put into the outbox."""

    def __init__(self, database_url: str) -> None:
        self.clock = LaterClock()
        self.db = Database(database_url, clock=self.clock)
        self.credit = FreeCredit()
        self.inbox = Inbox(self.db)

    def wait(self, duration: timedelta) -> None:
        """Let time pass."""
        self.clock.ahead += duration

    async def request(self, email: str, browser: str | None = None, place: Place = HOME) -> tuple[str, str, str]:
        """Have a code mailed: the browser's secret, the code, and what stands behind the link's last slash."""
        pending = await request_code(self.db, email, browser, place.network)
        mail = await self.inbox.sign_in(pending.email)
        return pending.browser, mail.code, mail.path.rpartition("/")[2]

    async def type_code(self, browser: str | None, code: str, place: Place = HOME) -> Entry:
        """Type a code in a browser."""
        checked = await check_code(self.db, browser, code, place.network)
        return await sign_in_with_code(self.db, checked, place, self.credit)

    async def press_link(self, browser: str | None, link: str, place: Place = HOME) -> Entry:
        """Press the button on the link's page."""
        checked = await check_link(self.db, browser, link, place.network)
        return await sign_in_with_code(self.db, checked, place, self.credit)

    async def sign_in(self, email: str, place: Place = HOME) -> Entry:
        """Sign in by e-mail."""
        browser, code, _ = await self.request(email, None, place)
        return await self.type_code(browser, code, place)

    async def find(self, secret: str | None) -> SignedIn | None:
        """Who is signed in with a cookie."""
        async with self.db.transaction() as tx:
            return await find_session(tx, secret, self.clock.now())

    async def see(self, secret: str) -> SignedIn:
        """Who is signed in with a cookie that is good."""
        found = await self.find(secret)
        assert found is not None
        return found

    async def add_passkey(self, person: Person, device: Authenticator, name: str = "laptop") -> None:
        """Make a passkey."""
        credential = device.create(await begin_registration(self.db, PARTY, person, BROWSER))

        async def command(work: UnitOfWork) -> None:
            await finish_registration(work, PARTY, person.id, BROWSER, credential, name)

        await transact(self.db, actor_of(person), command)

    async def use_passkey(self, device: Authenticator, place: Place = HOME) -> Entry:
        """Sign in with a passkey."""
        options, browser = await begin_sign_in(self.db, PARTY, None, place.network)
        return await sign_in_with_passkey(self.db, PARTY, browser, device.get(options), place)
