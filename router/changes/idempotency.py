"""An operator's Idempotency-Key: the outcome of a change is stored by the transaction that makes it.

A crash leaves both or neither. A second request with the key waits, in Postgres, for the first to commit, and then
gets its outcome; a refused one leaves nothing, so the same key may try again. What is kept of a body is a MAC of it
under the operator's own key, which is stored nowhere: a body may hold a credential.
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
_KEEP = text(
    "UPDATE idempotency SET state = 'done', status = :status, headers = :headers, body = :body"
    " WHERE account_id = :member AND operation = :operation AND key = :key"
)
_READ = text(
    "SELECT body_hash, status, headers, body FROM idempotency"
    " WHERE account_id = :member AND operation = :operation AND key = :key AND state = 'done' AND expires_at >= now()"
)


class IdempotentRequest(msgspec.Struct, frozen=True):
    """What a request says of itself: who asks for which operation under which key, and the MAC of what is asked."""

    member_id: MemberId
    operation: str
    key: str
    mac: bytes
    request_id: RequestId

    @property
    def names(self) -> dict[str, object]:
        """The row's primary key, by parameter."""
        return {"member": self.member_id, "operation": self.operation, "key": self.key}


class StoredOutcome(msgspec.Struct, frozen=True):
    """An outcome as it is stored: ``headers`` as pairs, ``body`` without anything that is shown once."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class ReplayedOutcome(Exception):
    """The change was made before, under the same key: ends the transaction, in which nothing was written."""

    def __init__(self, outcome: StoredOutcome) -> None:
        super().__init__("made before")
        self.outcome = outcome


def mac_of(operator_key: str, *asked: bytes) -> bytes:
    """32 bytes that tell whether the same is asked again, and nothing of what it is."""
    return hmac.digest(operator_key.encode(), b"\0".join(b"%d:%b" % (len(part), part) for part in asked), "sha256")


async def find(connection: AsyncConnection, claim: IdempotentRequest) -> StoredOutcome | None:
    """The outcome under the claim's key. Raises ``IdempotencyMismatch`` where something else was asked under it."""
    row = (await connection.execute(_READ, claim.names)).one_or_none()
    if row is None:
        return None
    if not hmac.compare_digest(row.body_hash, claim.mac):
        raise IdempotencyMismatch(
            "This Idempotency-Key was used for another request. Use a new key for a new request.",
            param="Idempotency-Key",
        )
    return StoredOutcome(row.status, msgspec.json.decode(row.headers, type=list[tuple[str, str]]), row.body)


async def begin(connection: AsyncConnection, claim: IdempotentRequest) -> None:
    """Take the key for this transaction. Raises :class:`ReplayedOutcome`, ``IdempotencyMismatch``."""
    taken = await connection.scalar(_CLAIM, {**claim.names, "hash": claim.mac, "request": claim.request_id})
    if taken:
        return
    outcome = await find(connection, claim)
    assert outcome is not None, "a claim that is committed has its outcome; this is a bug"
    raise ReplayedOutcome(outcome)


async def keep(connection: AsyncConnection, claim: IdempotentRequest, outcome: StoredOutcome) -> None:
    """Store the outcome, in the transaction that made it."""
    columns = {"status": outcome.status, "headers": msgspec.json.encode(outcome.headers), "body": outcome.body}
    await connection.execute(_KEEP, {**claim.names, **columns})
