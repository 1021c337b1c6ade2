"""Keeps mails as files where there is no mail server, each one that a mail program opens, and reads them again."""

import asyncio
import os
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import msgspec

from mail.transports import Failure, describe

# So many files stay in the folder.
FILES_MAX = 1000


class KeptMail(msgspec.Struct, frozen=True):
    """A mail that was written: for a person to read it."""

    name: str
    subject: str
    to: str
    at: datetime
    text: str


class MailFolder:
    """A folder in which each message is a file; the newest 1,000 stay."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, message: EmailMessage, address: str, bounces_to: str) -> Failure | None:
        """Write one message; the same Message-ID again is the same file."""
        try:
            await asyncio.to_thread(self._write, message, address)
        except OSError as fault:
            return Failure(describe(fault), is_server=True)
        return None

    def _write(self, message: EmailMessage, address: str) -> None:
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A Message-ID begins with hex digits that sort by time; nothing else comes into a path as it is.
        parts = (str(message["Message-ID"]).partition("@")[0], address)
        name = "-".join("".join(one for one in part if one.isascii() and one.isalnum())[:60] for part in parts)
        target, part = self._path / f"{name}.eml", self._path / f"{name}.part"
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(message.as_bytes())
        part.replace(target)
        for old in _files(self._path)[:-FILES_MAX]:
            old.unlink(missing_ok=True)


def read_folder(path: Path, *, at_most: int = 50) -> list[KeptMail]:
    """The newest mails of a folder, the newest first; none of a folder that is not there."""
    return [_read(file) for file in reversed(_files(path)[-at_most:])]


def _files(path: Path) -> list[Path]:
    """The files, the oldest first."""
    found = []
    for file in path.glob("*.eml"):
        try:
            found.append((file.stat().st_mtime_ns, file))
        except FileNotFoundError:
            continue
    return [file for _, file in sorted(found)]


def _read(file: Path) -> KeptMail:
    message = message_from_bytes(file.read_bytes(), policy=policy.default)
    body = message.get_body(("plain",))
    return KeptMail(
        name=file.stem,
        subject=str(message["Subject"]),
        to=str(message["To"]),
        at=message["Date"].datetime,
        text="" if body is None else "\n".join(str(body.get_content()).strip().splitlines()),
    )
