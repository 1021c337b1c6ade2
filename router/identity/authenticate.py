"""Authenticates a key: from an ``Authorization`` header to the key's caller, by its digest in this process's memory.

On a miss it waits once for pending key changes, so that a key created a moment ago by another process is accepted.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from router.errors import KeyExpired, KeyMissing, KeyPaused, KeyUnknown, NotAllowed, StoreUnavailable
from router.identity.keys import OPERATOR, digest_of, is_well_formed, is_well_formed_management, mask
from router.values import Caller, Key
from store.ids import KeyId

# Key changes are confirmed every two seconds (registry.refresh). Without that for FRESH, an unknown key may be a new
# one, and for TRUST, even a key in memory may have been revoked long ago.
FRESH = timedelta(seconds=6)
TRUST = timedelta(seconds=60)
NEVER = datetime.min.replace(tzinfo=UTC)

MISSING = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY)."
)


OTHER_SCHEME = f"{MISSING} Yours does not begin with 'Bearer '."


class KeyIndex:
    """All keys that may still call, by digest, in this process's memory; ``registry.refresh`` refreshes it."""

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

    def get(self, key_id: KeyId) -> Key | None:
        """The key with this id, as its own secret has it."""
        # The first digest is the latest secret's.
        digests = self._digests.get(key_id)
        return None if digests is None else self._by_digest[digests[0]]

    def all(self) -> list[Key]:
        """Each key once, in no order."""
        return list({key.id: key for key in self._by_digest.values()}.values())

    def put(self, key_id: KeyId, by_digest: Mapping[bytes, Key]) -> None:
        """Set a key's digests: two while an old secret still works after a rotation; none to remove the key."""
        for digest in self._digests.pop(key_id, ()):
            del self._by_digest[digest]
        if by_digest:
            self._by_digest.update(by_digest)
            self._digests[key_id] = tuple(by_digest)

    def retain(self, key_ids: Iterable[KeyId]) -> None:
        """Remove all other keys: the end of a full load."""
        for gone in self._digests.keys() - set(key_ids):
            self.put(gone, {})

    def mark_fresh(self, now: datetime) -> None:
        """Record that every key change made before ``now`` has been applied."""
        self._fresh_until = now + FRESH
        self._trusted_until = now + TRUST

    def mark_stale(self) -> None:
        """Record that changes no longer arrive: a key that is not here may be a new one."""
        self._fresh_until = NEVER

    def is_fresh(self, now: datetime) -> bool:
        """Whether a key that is not here does not exist."""
        return now <= self._fresh_until

    def is_trusted(self, now: datetime) -> bool:
        """Whether a key that is here may be accepted."""
        return now <= self._trusted_until


async def authenticate_caller(
    authorization: str | None, keys: KeyIndex, now: datetime, catch_up: Callable[[], Awaitable[None]]
) -> Caller:
    """As :func:`authenticate`, which runs again after ``catch_up`` for a well-formed key that is not in memory.

    A key with a wrong checksum is refused at once; the second look-up costs no query of its own.
    """
    try:
        return authenticate(authorization, keys, now)
    except KeyUnknown:
        if authorization is None or not is_well_formed(authorization[7:]):
            raise
    await catch_up()
    return authenticate(authorization, keys, now)


def authenticate(header: str | None, keys: KeyIndex, now: datetime) -> Caller:
    """The caller, from ``Authorization: Bearer <key>``.

    The digest of the whole key is what is looked up, so neither a stored digest nor a part of a key works as one.
    Raises ``KeyMissing``, ``KeyUnknown``, ``KeyExpired``, ``KeyPaused``, ``NotAllowed`` for a management key, and
    ``StoreUnavailable`` where this process cannot know: a fault of ours is never reported as a fault of the key.
    """
    if not header or not (header.startswith("Bearer ") or header[:7].lower() == "bearer ") or len(header) == 7:
        raise KeyMissing(OTHER_SCHEME if header and header[:6].lower() != "bearer" else MISSING)
    text = header[7:]
    key = keys.find(digest_of(text))
    if key is None:
        raise _unknown(text, keys, now)
    if not keys.is_trusted(now):
        raise _cannot_check("the keys in memory are older than 60 s")
    if key.expires_at is not None and key.expires_at <= now:
        expired_at = f"{key.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        raise KeyExpired(f"The API key {mask(text)} expired at {expired_at}. Use another key or create a new one.")
    if key.paused:
        raise KeyPaused(f"The API key {mask(text)} is paused, or its account is suspended. Use another key.")
    return Caller(key=key)


def _unknown(text: str, keys: KeyIndex, now: datetime) -> KeyUnknown | NotAllowed | StoreUnavailable:
    if is_well_formed_management(text):
        return NotAllowed(
            f"{mask(text)} is a management key: it administers an account and cannot call models. Use an API key of "
            "the account (gr_live_… or gr_test_…); `gigarouter keys create` makes one."
        )
    if text.startswith(OPERATOR):
        return KeyUnknown(
            f"Incorrect API key provided: {mask(text)}. It is an operator's, which works on /admin only; use "
            "a key of an account."
        )
    if not is_well_formed(text):
        why = "It is not a key of ours"
        if text.startswith("gr_"):
            why = "Its checksum does not fit, so it is mistyped or cut off"
        elif text[:7].lower() == "bearer ":
            why = "It begins with the word Bearer, which is no part of a key"
        elif text[:1] in "'\"":
            why = "It stands in quotation marks, which are no part of a key"
        return KeyUnknown(f"Incorrect API key provided: {mask(text)}. {why}; copy it again from where you keep it.")
    if not keys.is_fresh(now):
        return _cannot_check("a key that is not in memory, while changes do not arrive")
    return KeyUnknown(
        f"Incorrect API key provided: {mask(text)}. It does not exist or was revoked; a key is shown only once, "
        "when it is created, so create a new one if it is lost."
    )


def _cannot_check(detail: str) -> StoreUnavailable:
    return StoreUnavailable(
        "API keys cannot be checked at the moment. Try again shortly.", detail=detail, retry_after_s=2.0
    )
