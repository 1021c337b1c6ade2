"""Mails about API keys. No mail has a key's secret; a prefix is what its owner knows it by."""

from datetime import datetime
from typing import ClassVar

from typing_extensions import override

from mail.values import Audience, Mail


class _OfKey(Mail, frozen=True, kw_only=True):
    """What every mail about a key says: its id as ``key_…``, its name, and what its secret begins with."""

    audience: ClassVar[Audience] = Audience.KEYS

    key: str
    name: str
    prefix: str

    @override
    def link(self, account: str) -> str:
        return f"/accounts/{account}/keys/{self.key}"


class KeyCreated(_OfKey, frozen=True, kw_only=True):
    """A key was made. ``by``: who did it, as the audit log names them."""

    kind: ClassVar[str] = "key_created"

    by: str


class KeyRotated(_OfKey, frozen=True, kw_only=True):
    """A key has a new secret; the one before works until ``old_until``, or not at all."""

    kind: ClassVar[str] = "key_rotated"

    by: str
    old_until: datetime | None = None


class KeyExpiring(_OfKey, frozen=True, kw_only=True):
    """A key ends soon."""

    kind: ClassVar[str] = "key_expiring"

    at: datetime


class KeyRevoked(_OfKey, frozen=True, kw_only=True):
    """A key was revoked by the house, and why."""

    kind: ClassVar[str] = "key_revoked"

    reason: str = ""
