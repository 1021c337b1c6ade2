"""Makes an operator's change once per Idempotency-Key: the transaction that makes it stores the outcome.

A crash leaves both or neither. A second request with the key waits, in Postgres, for the first to commit, and then
gets its outcome; a refused request leaves nothing, so the same key may try again. Of a body only a MAC is stored, under
the operator's own key, which is stored nowhere, or on the machine under a secret key of the settings: a body may hold a
credential. What an answer shows once is stored encrypted, and is deleted with the outcome when its time is over.
"""

import hmac
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.errors import IdempotencyMismatch
from store.ids import RequestId

_CLAIM = text("""
    INSERT INTO idempotency AS i
        (account_id, key, operation, body_hash, request_id, state, created_at, expires_at, lease_until)
    VALUES (:member, :key, :operation, :hash, :request, 'running', now(), now() + interval '24 hours', now())
    ON CONFLICT (account_id, operation, key) DO UPDATE SET
        request_id = EXCLUDED.request_id, body_hash = EXCLUDED.body_hash, state = 'running',
        created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at, lease_until = EXCLUDED.lease_until,
        status = NULL, headers = NULL, body = NULL, sealed = NULL
    WHERE i.expires_at < now()
    RETURNING true
""")
_STORE = text(
    "UPDATE idempotency SET state = 'done', status = :status, headers = :headers, body = :body, sealed = :sealed,"
    " expires_at = greatest(expires_at, CAST(:replays_until AS timestamptz))"
    " WHERE account_id = :member AND operation = :operation AND key = :key"
)
_READ = text(
    "SELECT body_hash, request_id, status, headers, body, sealed FROM idempotency"
    " WHERE account_id = :member AND operation = :operation AND key = :key AND state = 'done' AND expires_at >= now()"
)


class IdempotentRequest(msgspec.Struct, frozen=True):
    """One request for a change: whose it is, for which operation, under which key, and the MAC of its body.

    ``earlier_macs`` are what an equal request may have been stored with: MACs under secret keys that were rotated out.
    """

    claimant: UUID
    operation: str
    key: str
    mac: bytes
    request_id: RequestId
    earlier_macs: tuple[bytes, ...] = ()

    @property
    def primary_key(self) -> dict[str, object]:
        """The row's primary key, by parameter."""
        return {"member": self.claimant, "operation": self.operation, "key": self.key}

    def binding(self, request_id: RequestId) -> bytes:
        """What the secrets in the outcome of ``request_id``, which claimed the key, are bound to."""
        return f"outcome {self.claimant.hex} {request_id.hex} {self.operation} {self.key}".encode()

    def is_equal_to(self, stored_mac: bytes) -> bool:
        """Whether the request that was stored with this MAC is the same as this one."""
        return any(hmac.compare_digest(stored_mac, mac) for mac in (self.mac, *self.earlier_macs))


class StoredOutcome(msgspec.Struct, frozen=True):
    """A stored response: ``headers`` as pairs, ``body`` without the secrets that are shown once.

    ``sealed`` has these secrets encrypted and bound to ``binding``; None where there are none.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    sealed: bytes | None = None
    binding: bytes = b""


class ReplayedOutcome(Exception):
    """Ends a transaction that has written nothing: the change was made before, under the same key."""

    def __init__(self, outcome: StoredOutcome) -> None:
        super().__init__("made before")
        self.outcome = outcome


def request_mac(operator_key: str, *parts: bytes) -> bytes:
    """Compute 32 bytes that tell whether two requests are equal, and nothing of what is in them."""
    return hmac.digest(operator_key.encode(), request_message(*parts), "sha256")


def request_message(*parts: bytes) -> bytes:
    """Join the parts of a request unambiguously, for a MAC."""
    return b"\0".join(b"%d:%b" % (len(part), part) for part in parts)


async def find_outcome(connection: AsyncConnection, request: IdempotentRequest) -> StoredOutcome | None:
    """Find the outcome under the request's key. Raises ``IdempotencyMismatch`` where its first request was another."""
    row = (await connection.execute(_READ, request.primary_key)).one_or_none()
    if row is None:
        return None
    if not request.is_equal_to(row.body_hash):
        raise IdempotencyMismatch(
            "This Idempotency-Key was used for another request. Use a new key for a new request.",
            param="Idempotency-Key",
        )
    headers = msgspec.json.decode(row.headers, type=list[tuple[str, str]])
    return StoredOutcome(row.status, headers, row.body, row.sealed, request.binding(RequestId(row.request_id)))


async def claim_key(connection: AsyncConnection, request: IdempotentRequest) -> None:
    """Claim the key for this transaction. Raises :class:`ReplayedOutcome`, ``IdempotencyMismatch``."""
    taken = await connection.scalar(_CLAIM, {**request.primary_key, "hash": request.mac, "request": request.request_id})
    if taken:
        return
    outcome = await find_outcome(connection, request)
    assert outcome is not None, "a key that was claimed and committed has its outcome; this is a bug"
    raise ReplayedOutcome(outcome)


async def store_outcome(
    connection: AsyncConnection,
    request: IdempotentRequest,
    outcome: StoredOutcome,
    *,
    replays_until: datetime | None = None,
) -> None:
    """Store the outcome in the transaction that makes the change: for 24 hours, or until ``replays_until`` if later."""
    columns = {
        "status": outcome.status,
        "headers": msgspec.json.encode(outcome.headers),
        "body": outcome.body,
        "sealed": outcome.sealed,
        "replays_until": replays_until,
    }
    await connection.execute(_STORE, {**request.primary_key, **columns})
