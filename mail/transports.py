"""Hands messages to a mail server by SMTP, and says what its answers mean."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from typing import Protocol
from urllib.parse import unquote, urlsplit

import msgspec

TIMEOUT_S = 20.0
_PORTS = {"smtp": 587, "smtps": 465}
_FOR_GOOD = 500


class Failure(msgspec.Struct, frozen=True):
    """Why a message was not taken.

    ``is_final``: it never will be. ``is_unknown``: the server says for good that there is no such mailbox.
    ``is_server``: the server takes nothing now, whatever the message.
    """

    fault: str
    is_final: bool = False
    is_unknown: bool = False
    is_server: bool = False


class Transport(Protocol):
    """Whatever takes messages."""

    async def send(self, message: EmailMessage, address: str, bounces_to: str) -> Failure | None:
        """Hand one message on; returns why it was not taken, if it was not."""


class MailServer:
    """A mail server by its URL, ``smtp://user:password@host:587`` (STARTTLS where it has a password) or ``smtps://``."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "smtps"
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._timeout_s = timeout_s

    async def send(self, message: EmailMessage, address: str, bounces_to: str) -> Failure | None:
        """Send one message. A server that is silent after it had the whole of it may have taken it."""
        try:
            await asyncio.to_thread(self._send, message, address, bounces_to)
        except smtplib.SMTPRecipientsRefused as fault:
            is_final = all(code >= _FOR_GOOD for code, _ in fault.recipients.values())
            return Failure(describe(fault), is_final=is_final, is_unknown=is_final)
        except smtplib.SMTPDataError as fault:
            return Failure(describe(fault), is_final=fault.smtp_code >= _FOR_GOOD)
        except smtplib.SMTPNotSupportedError as fault:
            return Failure(describe(fault), is_final=True)
        except (OSError, smtplib.SMTPException) as fault:
            return Failure(describe(fault), is_server=True)
        return None

    def _send(self, message: EmailMessage, address: str, bounces_to: str) -> None:
        secure = ssl.create_default_context()
        if self._is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=secure)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)
        with server:
            # A password goes over no line that is not encrypted: without STARTTLS this raises.
            if self._user and not self._is_tls:
                server.starttls(context=secure)
            if self._user:
                server.login(self._user, self._password)
            server.send_message(message, from_addr=bounces_to or None, to_addrs=[address])


def describe(fault: Exception) -> str:
    """A fault as the outbox has it."""
    return f"{type(fault).__name__}: {fault}"[:500]
