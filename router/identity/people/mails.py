"""Puts mails to people into the outbox of the transaction that causes them; the kinds are those of the mail part."""

from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection


class Recipient(msgspec.Struct, frozen=True):
    """Whom one mail is for."""

    address: str
    locale: str = "en"
    zone: str = "UTC"


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail of some kind: what its sentences say."""


class SignInCode(Mail, frozen=True, kw_only=True):
    """The code that signs somebody in, and the page that takes it."""

    code: str
    path: str
    minutes: int


class Invitation(Mail, frozen=True, kw_only=True):
    """Somebody is invited into an account."""

    account_name: str
    role: str
    by: str
    path: str
    until: datetime


class Welcome(Mail, frozen=True, kw_only=True):
    """An account was opened."""

    account_name: str
    credit_usd: str = ""
    credit_until: datetime | None = None


class PasskeyAdded(Mail, frozen=True, kw_only=True):
    """A passkey can sign in as this person from now on."""

    name: str
    at: datetime


class PasskeyRemoved(Mail, frozen=True, kw_only=True):
    """A passkey can sign in as this person no more."""

    name: str
    at: datetime


class SessionStarted(Mail, frozen=True, kw_only=True):
    """This person signed in from a place that was not seen before, or by e-mail although they have passkeys."""

    at: datetime
    method: str
    device: str = ""
    place: str = ""


async def enqueue(tx: AsyncConnection, mail: Mail, to: Recipient, *, dedupe: str) -> None:
    """Put a mail into the outbox."""
