"""API keys: their form, their checksum, their digest, and who a key belongs to. Never a look-up outside the process.

A key is ``gr_live_<8 id>_<32 secret>_<6 checksum>``, all base62, joined by underscores so that a double click takes
the whole of it. The secret is 190 random bits, so a plain SHA-256 is a sound thing to store. The checksum is the
CRC-32 of all that stands before it: a typo is told from an unknown key without asking anyone, and secret scanners can
tell a key of ours offline.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from zlib import crc32

import msgspec

from router.errors import KeyExpired, KeyMissing, KeyPaused, KeyUnknown, StoreUnavailable
from router.values import Caller, Key
from store.ids import KeyId

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HANDLE_LENGTH = 8
SECRET_LENGTH = 32  # 32 · log2(62) = 190.5 bits
CHECKSUM_LENGTH = 6  # 62^6 > 2^32
LIVE, TEST = "gr_live_", "gr_test_"
OPERATOR = "gr_ops_"
FORM = re.compile(r"gr_(?:live|test)_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}")
OPERATOR_FORM = re.compile(r"gr_ops_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}")
LENGTH = len(LIVE) + HANDLE_LENGTH + 1 + SECRET_LENGTH + 1 + CHECKSUM_LENGTH

# News is confirmed every two seconds (registry.refresh); without it for FRESH, "unknown" could be a lie, and for TRUST,
# even the keys that are known may have been revoked long ago.
FRESH = timedelta(seconds=6)
TRUST = timedelta(seconds=60)
NEVER = datetime.min.replace(tzinfo=UTC)

MISSING = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY)."
)


class NewKey(msgspec.Struct, frozen=True):
    """A fresh key. ``text`` is shown once and never stored; the rest is what the database keeps."""

    text: str
    handle: str
    last4: str
    digest: bytes


def new_key(*, is_test: bool = False, handle: str | None = None) -> NewKey:
    """A fresh key; ``handle`` keeps a rotated key's public part."""
    return _fresh(TEST if is_test else LIVE, handle or _random(HANDLE_LENGTH))


def new_operator_key() -> NewKey:
    """A fresh key of an operator, ``gr_ops_…``: of the same make, for the admin API alone."""
    return _fresh(OPERATOR, _random(HANDLE_LENGTH))


def _fresh(prefix: str, handle: str) -> NewKey:
    stem = f"{prefix}{handle}_{_random(SECRET_LENGTH)}"
    text = f"{stem}_{checksum(stem)}"
    return NewKey(text=text, handle=handle, last4=text[-4:], digest=digest_of(text))


def checksum(stem: str) -> str:
    """Six base62 digits of the CRC-32 of all that stands before the last underscore."""
    number = crc32(stem.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, rest = divmod(number, 62)
        digits = ALPHABET[rest] + digits
    return digits


def well_formed(text: str) -> bool:
    """Whether a text has the form of a key and its checksum fits: no look-up."""
    return len(text) == LENGTH and FORM.fullmatch(text) is not None and checksum(text[:-7]) == text[-6:]


def well_formed_operator(text: str) -> bool:
    """The same of an operator's key."""
    return OPERATOR_FORM.fullmatch(text) is not None and checksum(text[:-7]) == text[-6:]


def digest_of(text: str) -> bytes:
    """SHA-256 of the whole key, 32 bytes: what is stored, and what a process looks up."""
    return hashlib.sha256(text.encode(errors="replace")).digest()


def masked(text: str) -> str:
    """What an error or a list may show of a key: ``gr_live_abcd…wxyz``. Of another service's secret, less."""
    text = "".join(c if " " < c <= "~" else "?" for c in text[:100])
    if text.startswith((LIVE, TEST, OPERATOR)) and len(text) >= 40:
        return f"{text[:12]}…{text[-4:]}"
    return f"{text[:3]}…" if len(text) >= 20 else "…"


class KeyIndex:
    """Every key that may still call, by digest, in this process's memory; ``registry.refresh`` keeps it fresh."""

    __slots__ = ("_by_digest", "_digests", "_fresh_until", "_trusted_until")

    def __init__(self) -> None:
        self._by_digest: dict[bytes, Key] = {}
        self._digests: dict[KeyId, tuple[bytes, ...]] = {}
        self._fresh_until = NEVER
        self._trusted_until = NEVER

    def __len__(self) -> int:
        return len(self._digests)

    def find(self, digest: bytes) -> Key | None:
        """The key with this digest."""
        return self._by_digest.get(digest)

    def put(self, key_id: KeyId, by_digest: Mapping[bytes, Key]) -> None:
        """Set a key's digests (two while an old secret still works after a rotation); none takes the key out."""
        for digest in self._digests.pop(key_id, ()):
            del self._by_digest[digest]
        if by_digest:
            self._by_digest.update(by_digest)
            self._digests[key_id] = tuple(by_digest)

    def keep_only(self, key_ids: Iterable[KeyId]) -> None:
        """Take out every key that is not named: the end of a full load."""
        for gone in self._digests.keys() - set(key_ids):
            self.put(gone, {})

    def heard(self, now: datetime) -> None:
        """All changes that were made before ``now`` are in."""
        self._fresh_until = now + FRESH
        self._trusted_until = now + TRUST

    def deaf(self) -> None:
        """Changes no longer arrive: a key that is not here may be a new one."""
        self._fresh_until = NEVER

    def is_fresh(self, now: datetime) -> bool:
        """Whether a key that is not here does not exist."""
        return now <= self._fresh_until

    def is_trusted(self, now: datetime) -> bool:
        """Whether a key that is here may be taken."""
        return now <= self._trusted_until


def authenticate(header: str | None, keys: KeyIndex, now: datetime) -> Caller:
    """Who calls, from ``Authorization: Bearer <key>``.

    The digest of the whole key is what is looked up, so neither a stored digest nor a part of a key works as one.
    Raises ``KeyMissing``, ``KeyUnknown``, ``KeyExpired``, ``KeyPaused``, and ``StoreUnavailable`` where this process
    cannot know: a fault of ours is never told as a fault of the key.
    """
    if not header or not (header.startswith("Bearer ") or header[:7].lower() == "bearer ") or len(header) == 7:
        raise KeyMissing(MISSING)
    text = header[7:]
    key = keys.find(digest_of(text))
    if key is None:
        raise _unknown(text, keys, now)
    if not keys.is_trusted(now):
        raise _cannot_check("the keys in memory are older than 60 s")
    if key.expires_at is not None and key.expires_at <= now:
        expired_at = f"{key.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        raise KeyExpired(f"The API key {masked(text)} expired at {expired_at}. Use another key or create a new one.")
    if key.paused:
        raise KeyPaused(f"The API key {masked(text)} is paused, or its account is suspended. Use another key.")
    return Caller(key=key)


def _unknown(text: str, keys: KeyIndex, now: datetime) -> KeyUnknown | StoreUnavailable:
    if text.startswith(OPERATOR):
        return KeyUnknown(
            f"Incorrect API key provided: {masked(text)}. It is an operator's, which works on /admin only; use "
            "a key of an account."
        )
    if not well_formed(text):
        why = (
            "Its checksum does not fit, so it is mistyped or cut off"
            if text.startswith("gr_")
            else "It is not a key of ours"
        )
        return KeyUnknown(f"Incorrect API key provided: {masked(text)}. {why}; copy it again from where you keep it.")
    if not keys.is_fresh(now):
        return _cannot_check("a key that is not in memory, while changes do not arrive")
    return KeyUnknown(
        f"Incorrect API key provided: {masked(text)}. It does not exist or was revoked; a key is shown only once, "
        "when it is created, so create a new one if it is lost."
    )


def _cannot_check(detail: str) -> StoreUnavailable:
    return StoreUnavailable(
        "API keys cannot be checked at the moment. Try again shortly.", detail=detail, retry_after_s=2.0
    )


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
