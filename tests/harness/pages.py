"""The pages of one process for tests: real Postgres, the real table of routes, readers that a cookie names.

A test signs somebody in with ``pages.sign_in("ann", viewer)`` and reads as them by the cookie ``reader=ann``.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

import httpx
import msgspec
from sqlalchemy import event

from gigarouter.settings import Settings
from gigarouter.web_wiring import pages
from router.context import RouterContext
from router.identity.members import Role
from router.identity.people.values import OpenView
from store.ids import AccountId, MemberId, new_id
from web.app import WebApp
from web.context import WebContext
from web.routes import ROUTES
from web.viewer import NOBODY, Membership, Staff, Viewer

READER = "reader"
BASE = "http://127.0.0.1:8001"
# What a browser sends with a form of our own page.
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


def an_operator(
    role: Role = Role.OPS, *, now: datetime | None = None, view: OpenView | None = None, **fields: Any
) -> Viewer:
    """Somebody who runs the product; signed in a moment ago where ``now`` is given. ``view``: what they look at."""
    staff = Staff(MemberId(new_id()), role, view)
    return Viewer(person="person", name="Olga", email="olga@ops.example", staff=staff, signed_in_at=now, **fields)


def a_member(account: AccountId, role: Role = Role.OWNER, *, now: datetime | None = None, **fields: Any) -> Viewer:
    """A person in one account."""
    membership = Membership(account, "Acme", role, MemberId(new_id()))
    return Viewer(
        person="person", name="Ann", email="ann@acme.example", memberships=(membership,), signed_in_at=now, **fields
    )


class Readers:
    """Who reads, by the value of a cookie."""

    def __init__(self) -> None:
        self.known: dict[str, Viewer] = {}

    async def find(self, cookies: Mapping[str, str], context: RouterContext, now: datetime) -> Viewer:
        return self.known.get(cookies.get(READER, ""), NOBODY)


class Pages:
    """The application, and a client for whoever reads."""

    def __init__(self, context: WebContext, readers: Readers) -> None:
        self.context = context
        self.app = WebApp(context, ROUTES)
        self.readers = readers

    def reader(self, viewer: Viewer = NOBODY, name: str = "ann") -> httpx.AsyncClient:
        """A client that reads as ``viewer`` and sends forms as our own pages do."""
        self.readers.known[name] = viewer
        cookies = {READER: name} if viewer.is_known else {}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url=BASE, cookies=cookies, headers=SAME_ORIGIN)

    @property
    def now(self) -> datetime:
        return self.context.clock.now()

    @staticmethod
    def without_begin(statements: list[str]) -> list[str]:
        """The statements without those that a connection begins with, which are no page's."""
        return [one for one in statements if "set_config" not in one and "SET TRANSACTION" not in one]

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """The statements that reading pages sends to Postgres meanwhile, but for what gives a session its role.

        That one is sent where a connection was idle for a second, whatever page is read.
        """
        statements: list[str] = []

        def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if "set_config" not in statement:
                statements.append(statement)

        engine = self.context.reads.db.engine.sync_engine
        event.listen(engine, "before_cursor_execute", count)
        try:
            yield statements
        finally:
            event.remove(engine, "before_cursor_execute", count)


@asynccontextmanager
async def served_pages(settings: Settings) -> AsyncIterator[Pages]:
    """The pages on a database, with the workshop."""
    readers = Readers()
    async with pages(settings.model_copy(update={"web_workshop": True}), readers.find) as context:
        yield Pages(context, readers)


def with_role(viewer: Viewer, role: Role) -> Viewer:
    """The same person in another role of the same account."""
    [membership] = viewer.memberships
    return msgspec.structs.replace(viewer, memberships=(msgspec.structs.replace(membership, role=role),))
