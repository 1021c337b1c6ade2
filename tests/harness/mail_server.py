"""A mail server for tests (aiosmtpd): it defers the first messages, and refuses some addresses for good."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session


class MailHandler:
    """Takes messages. ``answer``: what is said after a message instead of 250; ``taken`` runs before it is said."""

    def __init__(self, refuses: Collection[str] = (), deferrals: int = 0) -> None:
        self.received: list[bytes] = []
        self.refuses = refuses
        self.deferrals = deferrals
        self.answer = "250 taken"
        self.taken: Callable[[], Awaitable[None]] | None = None

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _: list[str]
    ) -> str:
        if address in self.refuses:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.deferrals:
            self.deferrals -= 1
            return "451 try again later"
        assert isinstance(envelope.content, bytes)
        if not self.answer.startswith("250"):
            return self.answer
        self.received.append(envelope.content)
        if self.taken is not None:
            await self.taken()
        return self.answer

    def messages(self) -> list[EmailMessage]:
        """What was taken, read."""
        return [message_from_bytes(one, policy=policy.default) for one in self.received]


@asynccontextmanager
async def serve_mail(handler: MailHandler) -> AsyncIterator[int]:
    """Run a server; its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, enable_SMTPUTF8=True), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def mail_server(refuses: Collection[str] = (), deferrals: int = 0) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server's port and the messages that it took."""
    handler = MailHandler(refuses, deferrals)
    async with serve_mail(handler) as port:
        yield port, handler.received
