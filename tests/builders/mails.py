"""Reads the outbox as the readers of its mails will: what was written to whom, before jobs send and erase it."""

import msgspec
from sqlalchemy import text

from mail import Mail
from mail.kinds import KINDS, Invitation, SignInCode
from store.postgres import Database

_ALL = text("SELECT address, kind, facts FROM mails WHERE facts <> '{}' ORDER BY id")


class Inbox:
    """The mails of a database that wait to be sent."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def all(self) -> list[tuple[str, Mail]]:
        """Address and mail of each, the newest last."""
        async with self.db.transaction() as tx:
            rows = (await tx.execute(_ALL)).all()
        return [(row.address, msgspec.convert(row.facts, KINDS[row.kind])) for row in rows]

    async def of(self, email: str) -> list[Mail]:
        """Those to one address."""
        return [mail for address, mail in await self.all() if address == email]

    async def kinds(self, email: str) -> list[str]:
        """The kinds of those to one address."""
        return [mail.kind for mail in await self.of(email)]

    async def sign_in(self, email: str) -> SignInCode:
        """The newest code and link."""
        return [mail for mail in await self.of(email) if isinstance(mail, SignInCode)][-1]

    async def code(self, email: str) -> str:
        """The newest code."""
        return (await self.sign_in(email)).code

    async def invitation(self, email: str) -> Invitation:
        """The newest invitation."""
        return [mail for mail in await self.of(email) if isinstance(mail, Invitation)][-1]
