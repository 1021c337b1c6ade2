"""Says what a mail is: a struct per kind, to whom a kind goes, whether it is owed, and whom one mail is for.

Values alone; :mod:`mail.kinds` has the kinds, :mod:`mail.outbox` stores them.
"""

import re
from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

# One address and nothing else: what stands in a header could otherwise name a second recipient.
_ADDRESS = re.compile(r"[^\s@,;:<>()\[\]\"\\\x00-\x1f\x7f]{1,64}@[^\s@,;:<>()\[\]\"\\\x00-\x1f\x7f]{1,253}")
ADDRESS_LENGTH_MAX = 254
DEFAULT_LOCALE, DEFAULT_ZONE = "en", "UTC"


class Audience(StrEnum):
    """Who of an account, or of the house, gets mails of a kind."""

    MONEY = "money"
    """The billing profile's addresses; without any the account's owners and finance members."""
    KEYS = "keys"
    """The account's owners and developers."""
    OWNERS = "owners"
    """The account's owners."""


class Staff(StrEnum):
    """People of the house, for mails that are no account's."""

    OPS = "ops"
    FINANCE = "finance"


class Topic(StrEnum):
    """What is not owed to anybody, and may be unsubscribed from on its own."""

    MODELS = "models"
    SPENDING = "spending"
    WELCOME = "welcome"


class Priority:
    """Which of the mails that wait goes first: somebody sits in front of a sign-in page until its code comes."""

    AWAITED, USUAL, BULK = 0, 1, 2


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail of some kind: what its sentences say. Subclasses are the kinds, in :mod:`mail.kinds`."""

    kind: ClassVar[str]
    audience: ClassVar[Audience] = Audience.OWNERS
    topic: ClassVar[Topic | None] = None
    """None: it is owed, and goes out whatever its reader has unsubscribed from."""
    priority: ClassVar[int] = Priority.USUAL
    useful_for: ClassVar[timedelta] = timedelta(days=7)
    """After so long it is not sent any more."""
    has_secret: ClassVar[bool] = False
    """Its facts are erased as soon as it was sent or given up."""

    is_wanted: ClassVar[bool] = False
    """Its reader waits for it: a bounce of another day does not keep it back, or nobody could sign in any more."""

    def link(self, account: str) -> str:
        """Where its one link leads: a path of our pages, or a URL. ``account``: the id as ``acct_…``, or empty."""
        raise NotImplementedError


class Attachment(msgspec.Struct, frozen=True):
    """A file that goes with a mail. ``subtype``: of ``application/…``."""

    name: str
    subtype: str
    content: bytes


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A mail as it is when it is sent, with what was stored by reference only."""

    mail: Mail
    attachments: tuple[Attachment, ...] = ()
    reply_to: str = ""
    sender: str = ""
    """From whom it is where no sender is set."""


class Recipient(msgspec.Struct, frozen=True):
    """Whom one mail is for. Raises ``ValueError`` for what is no single address."""

    address: str
    locale: str = DEFAULT_LOCALE
    zone: str = DEFAULT_ZONE

    def __post_init__(self) -> None:
        if not is_address(self.address):
            raise ValueError(f"{self.address[:80]!r} is not one e-mail address")


def is_address(text: str) -> bool:
    """Whether a text is one e-mail address, and could not become two in a header."""
    return len(text) <= ADDRESS_LENGTH_MAX and _ADDRESS.fullmatch(text) is not None


def recipients(addresses: Iterable[str], locale: str = DEFAULT_LOCALE, zone: str = DEFAULT_ZONE) -> list[Recipient]:
    """Whom to mail at these addresses, each once; what an earlier release took and is no address is left out."""
    known = {address.lower(): address for address in addresses if is_address(address)}
    return [Recipient(address, locale, zone) for address in known.values()]


def zone_of(name: str) -> ZoneInfo:
    """A reader's time zone; UTC for one that this machine does not know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(DEFAULT_ZONE)
