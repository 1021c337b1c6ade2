"""Hands messages on: to a mail server by SMTP, or, where there is none, into a folder as files."""

import asyncio
import os
import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import msgspec

TIMEOUT_S = 20.0
_PORTS = {"smtp": 587, "smtps": 465}
_FOR_GOOD = 500
# So many files stay in the folder.
FILES_MAX = 1000


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
            return Failure(_describe(fault), is_final=is_final, is_unknown=is_final)
        except smtplib.SMTPDataError as fault:
            return Failure(_describe(fault), is_final=fault.smtp_code >= _FOR_GOOD)
        except smtplib.SMTPNotSupportedError as fault:
            return Failure(_describe(fault), is_final=True)
        except (OSError, smtplib.SMTPException) as fault:
            return Failure(_describe(fault), is_server=True)
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


class MailFolder:
    """A folder in which each message is a file that a mail program opens; the newest 1,000 stay."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, message: EmailMessage, address: str, bounces_to: str) -> Failure | None:
        """Write one message; the same Message-ID again is the same file."""
        try:
            await asyncio.to_thread(self._write, message)
        except OSError as fault:
            return Failure(_describe(fault), is_server=True)
        return None

    def _write(self, message: EmailMessage) -> None:
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A Message-ID begins with hex digits that sort by time; nothing else of it comes into a path.
        name = "".join(one for one in str(message["Message-ID"]).partition("@")[0] if one.isalnum())
        to = "".join(one for one in str(message["To"]).partition("@")[0] if one.isalnum())[:40]
        target = self._path / f"{name}-{to}.eml"
        part = target.with_suffix(".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(message.as_bytes())
        part.replace(target)
        for old in sorted(self._path.glob("*.eml"))[:-FILES_MAX]:
            old.unlink(missing_ok=True)


def _describe(fault: Exception) -> str:
    return f"{type(fault).__name__}: {fault}"[:500]
