"""Runs a call under its client's Idempotency-Key: a repeated call gets the stored outcome and is not charged again.

The key is claimed before the pipeline runs and its outcome is stored by the very transaction that charges, so a charge
without an outcome cannot exist. A claim whose process died is taken over after its lease; the old run then cannot
charge any more.

The key is the account's, so that a retry through any process finds it; the same *call* is the same body by the same
API key (its secret may have been rotated) in the same lane. Any difference is refused as another body is, and not run
apart: a client repeats an Idempotency-Key so as not to pay twice, so a second run would break the promise, and the
stored answer was made under another key's models, use and limits, for a test key even of other vectors. As with Stripe,
whose test and live keys share no outcome either, a new key is the way out.

What is stored is bounded per account (:mod:`router.request.outcome_room`). Of vectors, 32 bits for each number are
stored, from which the same bytes are encoded again; as text they would be up to six times as large.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from hashlib import sha256

import msgspec
from sqlalchemy import text

from billing.values import Idempotent
from router import errors
from router.request.outcome_room import OutcomeBounds, OutcomeRoom, StoredHour
from router.values import Answer, Caller, RawCall
from store.postgres import STORE_FAULTS, Database

OPERATION = "embeddings"
LEASE_GRACE_S = 20.0
# A larger answer is not stored: its replay says that the call was done and charged.
BODY_MAX = 1024 * 1024

_CLAIM = text("""
    INSERT INTO idempotency AS i
        (account_id, key, operation, body_hash, request_id, state, created_at, expires_at, lease_until)
    VALUES (:account, :key, :operation, :hash, :request, 'running', now(), now() + interval '24 hours',
        now() + make_interval(secs => :lease))
    ON CONFLICT (account_id, operation, key) DO UPDATE SET
        request_id = EXCLUDED.request_id, body_hash = EXCLUDED.body_hash, state = 'running',
        created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at, lease_until = EXCLUDED.lease_until,
        status = NULL, headers = NULL, body = NULL
    WHERE i.expires_at < now()
        OR (i.state = 'running' AND i.lease_until < now() AND i.body_hash = EXCLUDED.body_hash)
    RETURNING request_id
""")
_READ = text(
    "SELECT body_hash, state, status, headers, body FROM idempotency"
    " WHERE account_id = :account AND operation = :operation AND key = :key"
)
_DROP = text(
    "DELETE FROM idempotency WHERE account_id = :account AND operation = :operation AND key = :key"
    " AND request_id = :request AND state = 'running'"
)
_STORED = text(
    "SELECT gone_at, free, bytes FROM kept_outcomes WHERE account_id = :account AND gone_at > now() ORDER BY gone_at"
)
_COST = b"x-gigarouter-cost"
# What a limit had left when the call ran is not what it has left when the answer is given again, for nothing.
_RATE_LIMIT = b"x-ratelimit-"
_CLEAN = (
    text("DELETE FROM idempotency WHERE expires_at < now()"),
    text("DELETE FROM kept_outcomes WHERE gone_at < now()"),
)


def validate_idempotency_key(value: str) -> str:
    """The header's value, or IdempotencyKeyInvalid."""
    if not 1 <= len(value) <= 255 or not value.isascii() or not value.isprintable():
        raise errors.IdempotencyKeyInvalid(
            "An Idempotency-Key is 1 to 255 printable ASCII characters, for example a UUID.", param="Idempotency-Key"
        )
    return value


def outcome_of(call: RawCall, answer: Answer) -> Idempotent | None:
    """The outcome that the transaction stores which charges the call; None without an Idempotency-Key."""
    if call.idempotency_key is None:
        return None
    return Idempotent(
        key=call.idempotency_key,
        status=answer.status,
        headers=msgspec.json.encode([(n.decode("latin-1"), v.decode("latin-1")) for n, v in answer.headers]),
        body=answer.to_stored(BODY_MAX) or b"",
    )


def _identity(call: RawCall, caller: Caller) -> bytes:
    """A digest of all that a repetition must have in common: API key (test or live with it), lane, body."""
    digest = sha256(caller.key.id.bytes)
    digest.update(call.lane.value.encode() + b"\n")
    digest.update(call.body)
    return digest.digest()


async def run_idempotent(
    db: Database,
    call: RawCall,
    caller: Caller,
    bounds: OutcomeBounds,
    run: Callable[[OutcomeRoom], Awaitable[Answer]],
    restore: Callable[[bytes], Iterable[bytes]],
) -> Answer:
    """Run the pipeline under the call's Idempotency-Key, or answer with the stored outcome.

    ``run`` checks the room as soon as it knows whether the call is free; ``restore`` encodes a stored body again.
    Raises IdempotencyInProgress while another run has the key, IdempotencyMismatch for another call.
    """
    assert call.idempotency_key is not None, "run_idempotent() without a key; this is a bug"
    lease_s = max(1.0, call.deadline_at - asyncio.get_running_loop().time()) + LEASE_GRACE_S
    names = {
        "account": caller.key.account_id,
        "key": validate_idempotency_key(call.idempotency_key),
        "operation": OPERATION,
        "hash": _identity(call, caller),
        "request": call.request_id,
        "lease": lease_s,
    }
    try:
        async with db.transaction() as tx:
            if await tx.scalar(_CLAIM, names) is None:
                return _replay((await tx.execute(_READ, names)).one_or_none(), names, restore)
            hours = [StoredHour(*row) for row in await tx.execute(_STORED, {"account": caller.key.account_id})]
    except STORE_FAULTS as fault:
        raise errors.StoreUnavailable(
            "The Idempotency-Key cannot be looked up right now. Nothing was charged; try again in a moment.",
            retry_after_s=1,
            detail=str(fault),
        ) from fault
    try:
        return await run(OutcomeRoom(hours, bounds))
    except errors.NotRecorded:
        raise  # The commit may have been applied: the key stays claimed until its lease is over.
    except BaseException:
        # Refused or failed: nothing was charged, so the same key may try again.
        with suppress(*STORE_FAULTS):
            async with db.transaction() as tx:
                await tx.execute(_DROP, names)
        raise


def _replay(row: object, names: dict[str, object], restore: Callable[[bytes], Iterable[bytes]]) -> Answer:
    outcome = None if row is None else msgspec.convert(row, _Outcome, from_attributes=True)
    if outcome is not None and outcome.body_hash != names["hash"]:
        raise errors.IdempotencyMismatch(
            "This Idempotency-Key was used with another body, another API key or another X-Tier. Use a new key for a "
            "new request.",
            param="Idempotency-Key",
        )
    if outcome is None or outcome.state == "running":
        raise errors.IdempotencyInProgress(
            "A call with this Idempotency-Key is still running. Wait for it, then ask again with the same key.",
            retry_after_s=1,
            param="Idempotency-Key",
        )
    if not outcome.body:
        raise errors.IdempotencyResultGone(
            "This call was answered and charged once; its answer was too large to keep. Use a new key to compute it "
            "again.",
            param="Idempotency-Key",
        )
    headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in msgspec.json.decode(outcome.headers or b"[]")]
    # The costs of all answers must sum up to what was charged, so a replayed answer costs nothing.
    headers = [(name, value) for name, value in headers if name != _COST and not name.startswith(_RATE_LIMIT)]
    headers += [(_COST, b"0.00"), (b"idempotency-replayed", b"true")]
    return Answer(outcome.status or 200, headers, restore(outcome.body))


class _Outcome(msgspec.Struct, frozen=True):
    body_hash: bytes
    state: str
    status: int | None
    headers: bytes | None
    body: bytes | None


async def delete_expired_outcomes(db: Database) -> None:
    """Delete outcomes older than a day, and the counts of what has expired."""
    for statement in _CLEAN:
        async with db.transaction() as tx:
            await tx.execute(statement)
