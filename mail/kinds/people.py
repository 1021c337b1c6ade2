"""Mails about people: how they get in, who invited them, and what happened to their sign-in elsewhere."""

from datetime import datetime, timedelta
from typing import ClassVar

from typing_extensions import override

from mail.values import Mail, Priority, Topic


class SignInCode(Mail, frozen=True, kw_only=True):
    """The code that signs somebody in, and the page that takes it. ``minutes``: how long it holds."""

    kind: ClassVar[str] = "sign_in_code"
    priority: ClassVar[int] = Priority.AWAITED
    useful_for: ClassVar[timedelta] = timedelta(minutes=10)
    has_secret: ClassVar[bool] = True
    is_wanted: ClassVar[bool] = True

    code: str
    path: str
    minutes: int = 10

    @override
    def link(self, account: str) -> str:
        return self.path


class Invitation(Mail, frozen=True, kw_only=True):
    """Somebody is invited into an account. ``path`` has the invitation's secret; ``by`` is an address."""

    kind: ClassVar[str] = "invitation"
    priority: ClassVar[int] = Priority.AWAITED
    has_secret: ClassVar[bool] = True

    account_name: str
    role: str
    by: str
    path: str
    until: datetime

    @override
    def link(self, account: str) -> str:
        return self.path


class Welcome(Mail, frozen=True, kw_only=True):
    """An account was opened. ``credit_usd``: free credit in it, empty where there is none; ``path``: where it is."""

    kind: ClassVar[str] = "welcome"
    topic: ClassVar[Topic | None] = Topic.WELCOME

    account_name: str
    credit_usd: str = ""
    credit_until: datetime | None = None
    path: str = ""

    @override
    def link(self, account: str) -> str:
        return self.path or (f"/accounts/{account}" if account else "/")


class PasskeyAdded(Mail, frozen=True, kw_only=True):
    """A passkey can sign in as this person from now on."""

    kind: ClassVar[str] = "passkey_added"

    name: str
    at: datetime
    device: str = ""
    place: str = ""

    @override
    def link(self, account: str) -> str:
        return "/me/passkeys"


class PasskeyRemoved(Mail, frozen=True, kw_only=True):
    """A passkey can sign in as this person no more."""

    kind: ClassVar[str] = "passkey_removed"

    name: str
    at: datetime

    @override
    def link(self, account: str) -> str:
        return "/me/passkeys"


class SessionStarted(Mail, frozen=True, kw_only=True):
    """This person signed in from a device or place that was not seen before. ``method``: as ``a code by e-mail``."""

    kind: ClassVar[str] = "session_started"

    at: datetime
    method: str
    device: str = ""
    place: str = ""

    @override
    def link(self, account: str) -> str:
        return "/me/sessions"


class OwnDataReady(Mail, frozen=True, kw_only=True):
    """The archive of all that the account has, ``ordered`` then, can be fetched by its owners ``until`` then."""

    kind: ClassVar[str] = "own_data_ready"
    useful_for: ClassVar[timedelta] = timedelta(days=3)

    ordered: datetime
    until: datetime

    @override
    def link(self, account: str) -> str:
        return f"/accounts/{account}/data"


class OwnDataFailed(Mail, frozen=True, kw_only=True):
    """The archive that was ``ordered`` then could not be written. ``reason``: why, in a sentence."""

    kind: ClassVar[str] = "own_data_failed"
    useful_for: ClassVar[timedelta] = timedelta(days=3)

    ordered: datetime
    reason: str

    @override
    def link(self, account: str) -> str:
        return f"/accounts/{account}/data"
