"""Holds keys as their pages show them: what operations answer, and the warnings that follow from it."""

from datetime import datetime, timedelta

import msgspec

NEVER_USED_AFTER = timedelta(days=7)
EXPIRES_WITHIN = timedelta(days=14)
IDLE_AFTER = timedelta(days=30)


class Cap(msgspec.Struct, frozen=True):
    """A cap, with what is left of it; amounts are USD as text."""

    amount_usd: str
    period: str
    spent_usd: str
    left_usd: str
    resets_at: datetime | None


class LastUse(msgspec.Struct, frozen=True):
    """When a key was used last, from where, by which client."""

    at: datetime
    network: str | None
    client: str | None


class OldSecret(msgspec.Struct, frozen=True):
    """A secret that a rotation replaced and that works on."""

    works_until: datetime


class Key(msgspec.Struct, frozen=True):
    """A key, as the operations answer."""

    id: str
    name: str
    shown_as: str
    state: str
    is_test: bool
    use: str
    models: list[str]
    networks: list[str]
    allow_token_ids: bool
    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int
    caps: list[Cap]
    expires_at: datetime | None
    exceeds_max_life: bool
    created_at: datetime
    revoked_at: datetime | None
    last_use: LastUse | None
    old_secrets: list[OldSecret]


class IssuedKey(Key, frozen=True):
    """A key in the one answer that has its text."""

    key: str


class KeyRow(msgspec.Struct, frozen=True):
    """A key in the list. ``href`` is its page, ``old_ends``: how long old secrets work on."""

    key: Key
    href: str
    state: str
    warnings: tuple[str, ...]
    old_ends: tuple[str, ...] = ()


def row_of(key: Key, base: str, now: datetime) -> KeyRow:
    """The row of a key."""
    is_expired = key.expires_at is not None and key.expires_at <= now
    state = "expired" if is_expired and key.state == "active" else key.state
    ends = tuple(remaining(one.works_until, now) for one in key.old_secrets)
    return KeyRow(key, f"{base}/{key.id}", state, warnings_of(key, now), ends)


def warnings_of(key: Key, now: datetime) -> tuple[str, ...]:
    """What its people may want to do something about; nothing of a key that is revoked."""
    if key.state == "revoked":
        return ()
    found = []
    if key.last_use is None and now - key.created_at >= NEVER_USED_AFTER:
        found.append("never used")
    elif key.last_use is not None and now - key.last_use.at >= IDLE_AFTER:
        found.append(f"not used for {(now - key.last_use.at).days} days")
    if key.expires_at is not None and now < key.expires_at <= now + EXPIRES_WITHIN:
        found.append(f"expires in {remaining(key.expires_at, now)}")
    if key.exceeds_max_life:
        found.append("exceeds the longest life")
    if not key.caps and not key.is_test:
        found.append("no cap")
    return tuple(found)


def remaining(until: datetime, now: datetime) -> str:
    """The time that is left, to the day or to the minute: ``3 days``, ``23 h 10 min``."""
    left = max(until - now, timedelta())
    if left >= timedelta(days=2):
        return f"{left.days} days"
    minutes = int(left.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
