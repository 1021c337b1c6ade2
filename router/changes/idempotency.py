"""Makes an operator's change once per Idempotency-Key: the transaction that makes it stores the outcome.

A crash leaves both or neither. A second request with the key waits, in Postgres, for the first to commit, and then
gets its outcome; a refused request leaves nothing, so the same key may try again. Of a body only a MAC is stored, under
the operator's own key, which is stored nowhere: a body may hold a credential.
"""

import hmac

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.errors import IdempotencyMismatch
from store.ids import MemberId, RequestId

_CLAIM = text("""
    INSERT INTO idempotency AS i
        (account_id, key, operation, body_hash, request_id, state, created_at, expires_at, lease_until)
    VALUES (:member, :key, :operation, :hash, :request, 'running', now(), now() + interval '24 hours', now())
    ON CONFLICT (account_id, operation, key) DO UPDATE SET
        request_id = EXCLUDED.request_id, body_hash = EXCLUDED.body_hash, state = 'running',
        created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at, lease_until = EXCLUDED.lease_until,
        status = NULL, headers = NULL, body = NULL
    WHERE i.expires_at < now()
    RETURNING true
""")
_STORE = text(
    "UPDATE idempotency SET state = 'done', status = :status, headers = :headers, body = :body"
    " WHERE account_id = :member AND operation = :operation AND key = :key"
)
_READ = text(
    "SELECT body_hash, status, headers, body FROM idempotency"
    " WHERE account_id = :member AND operation = :operation AND key = :key AND state = 'done' AND expires_at >= now()"
)


class IdempotentRequest(msgspec.Struct, frozen=True):
    """One request for a change: whose it is, for which operation, under which key, and the MAC of its body."""

    member_id: MemberId
    operation: str
    key: str
    mac: bytes
    request_id: RequestId

    @property
    def primary_key(self) -> dict[str, object]:
        """The row's primary key, by parameter."""
        return {"member": self.member_id, "operation": self.operation, "key": self.key}


class StoredOutcome(msgspec.Struct, frozen=True):
    """A stored response: ``headers`` as pairs, ``body`` without the secrets that are shown once."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class ReplayedOutcome(Exception):
    """Ends a transaction that has written nothing: the change was made before, under the same key."""

    def __init__(self, outcome: StoredOutcome) -> None:
        super().__init__("made before")
        self.outcome = outcome


def request_mac(operator_key: str, *parts: bytes) -> bytes:
    """Compute 32 bytes that tell whether two requests are equal, and nothing of what is in them."""
    return hmac.digest(operator_key.encode(), b"\0".join(b"%d:%b" % (len(part), part) for part in parts), "sha256")


async def find_outcome(connection: AsyncConnection, request: IdempotentRequest) -> StoredOutcome | None:
    """Find the outcome under the request's key. Raises ``IdempotencyMismatch`` where its first request was another."""
    row = (await connection.execute(_READ, request.primary_key)).one_or_none()
    if row is None:
        return None
    if not hmac.compare_digest(row.body_hash, request.mac):
        raise IdempotencyMismatch(
            "This Idempotency-Key was used for another request. Use a new key for a new request.",
            param="Idempotency-Key",
        )
    return StoredOutcome(row.status, msgspec.json.decode(row.headers, type=list[tuple[str, str]]), row.body)


async def claim_key(connection: AsyncConnection, request: IdempotentRequest) -> None:
    """Claim the key for this transaction. Raises :class:`ReplayedOutcome`, ``IdempotencyMismatch``."""
    taken = await connection.scalar(_CLAIM, {**request.primary_key, "hash": request.mac, "request": request.request_id})
    if taken:
        return
    outcome = await find_outcome(connection, request)
    assert outcome is not None, "a key that was claimed and committed has its outcome; this is a bug"
    raise ReplayedOutcome(outcome)


async def store_outcome(connection: AsyncConnection, request: IdempotentRequest, outcome: StoredOutcome) -> None:
    """Store the outcome in the transaction that makes the change."""
    columns = {"status": outcome.status, "headers": msgspec.json.encode(outcome.headers), "body": outcome.body}
    await connection.execute(_STORE, {**request.primary_key, **columns})
