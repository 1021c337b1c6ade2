"""Mails issued documents by SMTP: claims a mail, sends it, marks it (:mod:`billing.documents.mails`)."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import msgspec
import structlog

from billing.documents.mails import Mail, claim_mail, mark_failed, mark_sent, read_message
from gigarouter.settings import Settings
from router.context import RouterContext

log = structlog.get_logger("jobs")

TIMEOUT_S = 20.0
AT_MOST = 100
_PORTS = {"smtp": 587, "smtps": 465}
_FOR_GOOD = 500


class MailServer:
    """A mail server by its URL, ``smtp://user:password@host:587`` (STARTTLS where it has a password) or ``smtps://``."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "smtps"
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")

    def send(self, message: EmailMessage) -> None:
        """Send one message. Raises ``OSError`` and ``smtplib.SMTPException``."""
        secure = ssl.create_default_context()
        if self._is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_S, context=secure)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S)
        with server:
            # A password goes over no line that is not encrypted: without STARTTLS this raises.
            if self._user and not self._is_tls:
                server.starttls(context=secure)
            if self._user:
                server.login(self._user, self._password)
            server.send_message(message)


class Failure(msgspec.Struct, frozen=True):
    """Why a mail was not taken; ``is_final`` where the server will never take it: it knows none of the addresses."""

    fault: str
    is_final: bool


class Outbox:
    """What the two jobs that mail share: the server and the sender that are set, and a turn's bound."""

    def __init__(self, settings: Settings | None) -> None:
        url = settings and settings.smtp_url
        self._server = MailServer(url.get_secret_value()) if url else None
        self.sender = (settings and settings.mail_from) or ""
        # Without a server nothing is claimed.
        self.at_most = AT_MOST if self._server else 0

    async def send(self, message: EmailMessage) -> Failure | None:
        """Send a message; returns why it was not taken, if it was not."""
        assert self._server is not None, "nothing is claimed without a mail server; this is a bug"
        try:
            await asyncio.to_thread(self._server.send, message)
        except smtplib.SMTPRecipientsRefused as fault:
            is_final = all(code >= _FOR_GOOD for code, _ in fault.recipients.values())
            return Failure(f"{type(fault).__name__}: {fault}", is_final)
        except (OSError, smtplib.SMTPException) as fault:
            return Failure(f"{type(fault).__name__}: {fault}", False)
        return None


class SendDocuments:
    """Sends what waits, where a mail server is set; without one nothing is sent."""

    def __init__(self, settings: Settings | None) -> None:
        self._outbox = Outbox(settings)

    async def __call__(self, context: RouterContext) -> None:
        """One turn."""
        for _ in range(self._outbox.at_most):
            async with context.db.transaction() as tx:
                mail = await claim_mail(tx)
                message = None if mail is None else await read_message(tx, mail, self._outbox.sender)
                if mail is not None and message is None:
                    fault = "neither GIGAROUTER_MAIL_FROM is set, nor has the seller an e-mail address"
                    await mark_failed(tx, mail, fault, is_final=False)
            if mail is None:
                return
            if message is not None:
                await self._send(context, mail, message)

    async def _send(self, context: RouterContext, mail: Mail, message: EmailMessage) -> None:
        failure = await self._outbox.send(message)
        async with context.db.transaction() as tx:
            if failure is None:
                await mark_sent(tx, mail)
            else:
                kind = failure.fault.partition(":")[0]
                log.warning("document_not_mailed", document=str(mail.document_id), fault=kind)
                await mark_failed(tx, mail, failure.fault, is_final=failure.is_final)
