"""Defines people, sessions and memberships as pages have them, and for how long what holds."""

import re
import unicodedata
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

import msgspec

from router import networks
from router.errors import InvalidRequest
from router.identity.members import OPERATOR_ROLES, Role
from store.ids import AccountId, AccountViewId, MemberId, PersonId, SessionId

FRESH = timedelta(minutes=15)
IDLE, LIFE, OPERATOR_LIFE = timedelta(days=14), timedelta(days=90), timedelta(hours=12)
EMAIL_MAX, NAME_MAX, DEVICE_MAX = 254, 200, 200
# 32 random bytes as ``secrets.token_urlsafe`` writes them.
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
# One address and nothing else: what stands in a header could otherwise name a second recipient.
_ADDRESS = re.compile(r"[^\s@,;:<>()\[\]\"\\\x00-\x1f\x7f]{1,64}@[^\s@,;:<>()\[\]\"\\\x00-\x1f\x7f]{1,253}")
_BROWSERS = ("Edg", "OPR", "Firefox", "Chrome", "Safari", "curl")
_BROWSER_NAMES = {"Edg": "Edge", "OPR": "Opera"}
_SYSTEMS = ("iPhone", "iPad", "Android", "Windows", "CrOS", "Mac OS X", "Linux")
_SYSTEM_NAMES = {"CrOS": "ChromeOS", "Mac OS X": "macOS"}


class Method(StrEnum):
    """How a person proved who they are."""

    CODE = "code"
    LINK = "link"
    PASSKEY = "passkey"
    OUTSIDE = "outside"


class Person(msgspec.Struct, frozen=True):
    """A human being with a verified e-mail address. ``locale`` is BCP 47, ``zone`` an IANA name."""

    id: PersonId
    email: str
    name: str
    locale: str
    zone: str
    created_at: datetime


class Membership(msgspec.Struct, frozen=True):
    """What a person is in one account; an operator's has no account."""

    member_id: MemberId
    account_id: AccountId | None
    account_name: str
    account_status: str
    role: Role


class OpenView(msgspec.Struct, frozen=True):
    """The account that an operator sees as its owner does, until it expires (router.identity.account_views)."""

    id: AccountViewId
    account_id: AccountId
    account_name: str
    expires_at: datetime


class Session(msgspec.Struct, frozen=True):
    """One browser in which somebody is signed in. ``network`` is a prefix of its address."""

    id: SessionId
    person_id: PersonId
    method: Method
    device: str
    network: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        """Whether the person signed in so lately that they need not again for what is dangerous."""
        return now - self.created_at < FRESH


class SignedIn(msgspec.Struct, frozen=True):
    """A session with its person, what that person is now in which account, and what an operator sees in it."""

    session: Session
    person: Person
    memberships: tuple[Membership, ...]
    view: OpenView | None = None

    def membership_in(self, account_id: AccountId) -> Membership | None:
        """What the person is in an account; None for one of others."""
        return next((one for one in self.memberships if one.account_id == account_id), None)

    def operator_membership(self, now: datetime) -> Membership | None:
        """What the person is as an operator, which holds for twelve hours after signing in with a passkey."""
        if self.session.method is not Method.PASSKEY or now - self.session.created_at >= OPERATOR_LIFE:
            return None
        return next((one for one in self.memberships if one.role in OPERATOR_ROLES), None)


class Place(msgspec.Struct, frozen=True):
    """Where a browser is, as the person recognizes it in a list."""

    device: str
    network: str


def place_of(address: str, user_agent: str) -> Place:
    """A browser's place by its address and what it calls itself."""
    return Place(device_of(user_agent), network_of(address))


def network_of(address: str) -> str:
    """The network of an address, /24 of IPv4 and /56 of IPv6; a socket's peer without one is this machine."""
    return str(networks.network_of(address, v6_prefix=56) or "local")


def device_of(user_agent: str) -> str:
    """A browser and its system in words, such as "Firefox on Linux"."""
    browser = next((one for one in _BROWSERS if f"{one}/" in user_agent), "")
    system = next((one for one in _SYSTEMS if one in user_agent), "")
    name = _BROWSER_NAMES.get(browser, browser) or "A browser"
    return f"{name} on {_SYSTEM_NAMES.get(system, system)}" if system else name


def require_email(text: str) -> str:
    """The address in its usual form (NFC, no blanks around it). Raises ``InvalidRequest``."""
    email = unicodedata.normalize("NFC", text).strip()
    if len(email) > EMAIL_MAX or not _ADDRESS.fullmatch(email) or not email.isprintable():
        raise InvalidRequest("That is not an e-mail address.", param="email")
    return email


def is_secret(text: str | None) -> bool:
    """Whether a cookie's value has the form of a secret of ours; one that was cut short has not."""
    return text is not None and _SECRET.fullmatch(text) is not None


def digest_of_secret(text: str) -> bytes:
    """SHA-256 of a secret in a cookie or a link, which is all that is stored of it."""
    return sha256(text.encode()).digest()
