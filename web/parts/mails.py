"""Shows the newest mails that `up` kept instead of sending them, to readers on this machine alone."""

import asyncio
import re
from datetime import datetime
from ipaddress import ip_address
from typing import ClassVar

import msgspec

from mail.folder import KeptMail, read_folder
from web.answers import Crumb, Page
from web.faults import NotFound
from web.request import PageRequest

_LINK = re.compile(r"https?://\S+")


class ShownMail(msgspec.Struct, frozen=True):
    """A mail, and where its links lead."""

    subject: str
    to: str
    at: datetime
    text: str
    links: tuple[str, ...]


class MailsPage(Page, frozen=True, kw_only=True):
    """The newest mails, the newest first."""

    template: ClassVar[str] = "parts/mails.html"

    mails: tuple[ShownMail, ...]
    is_kept: bool


async def show(request: PageRequest) -> MailsPage:
    """The mails that were kept. Raises :class:`NotFound` for who is not on this machine."""
    folder = request.context.mail_folder
    if not _is_loopback(request.client):
        raise NotFound
    kept = [] if folder is None else await asyncio.to_thread(read_folder, folder)
    mails = tuple(_shown(mail) for mail in kept)
    return MailsPage(title="Mails", crumbs=(Crumb("Workshop"), Crumb("Mails")), mails=mails, is_kept=folder is not None)


def _shown(mail: KeptMail) -> ShownMail:
    links = tuple(dict.fromkeys(_LINK.findall(mail.text)))
    return ShownMail(subject=mail.subject, to=mail.to, at=mail.at, text=mail.text, links=links)


def _is_loopback(client: str) -> bool:
    try:
        return ip_address(client).is_loopback
    except ValueError:
        return False
