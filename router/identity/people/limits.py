"""Bounds how often somebody tries to sign in, by network, address and person: counts in Postgres, in spans of time.

A count is committed before what it counts is done, so that a refusal does not take it back. Nobody is locked out by
others: an address that somebody else keeps busy still works from a network where its person has signed in before.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec
from sqlalchemy import text

from router.errors import RequestLimit
from store.postgres import Database

_EPOCH = datetime.fromtimestamp(0, UTC)
_COUNT = text("""
    INSERT INTO sign_in_counts (bucket, until, hits) VALUES (:bucket, :until, 1)
    ON CONFLICT (bucket, until) DO UPDATE SET hits = least(sign_in_counts.hits + 1, 1000000) RETURNING hits
""")
_IS_KNOWN = text("""
    SELECT EXISTS (
        SELECT FROM people p JOIN sessions s ON s.person_id = p.id
        WHERE lower(p.email) = lower(:email) AND s.network = :network AND s.created_at > :since
    )
""")
_FORGET = text("DELETE FROM sign_in_counts WHERE until < now() - interval '1 hour'")
KNOWN_FOR = timedelta(days=90)


class Bound(msgspec.Struct, frozen=True):
    """At most ``hits`` of something in each span of ``per``."""

    what: str
    hits: int
    per: timedelta


CODES_OF_NETWORK = Bound("codes of a network", 60, timedelta(hours=1))
CODES_OF_ADDRESS_HERE = Bound("codes of an address from a network", 6, timedelta(minutes=15))
CODES_OF_ADDRESS = Bound("codes of an address", 20, timedelta(days=1))
TRIES_OF_NETWORK = Bound("tries of a network", 120, timedelta(hours=1))
PASSKEYS_OF_NETWORK = Bound("passkey challenges of a network", 240, timedelta(hours=1))
CHANGES_OF_PERSON = Bound("changes of a person", 100, timedelta(days=1))
INVITATIONS_OF_ADDRESS = Bound("invitations of an address", 10, timedelta(days=1))
INVITATIONS_OF_ACCOUNT = Bound("invitations of an account", 50, timedelta(days=1))
TRIALS_OF_PERSON = Bound("trial calls of a person", 60, timedelta(hours=1))
TRIALS_OF_ADDRESS = Bound("trial calls of an address", 60, timedelta(hours=1))
TRIALS_OF_NETWORK = Bound("trial calls of a network", 240, timedelta(hours=1))
# What a person has in each hour however busy others of the network are.
TRIALS_OWN = 10
PASSKEY_ADVICE = ", or sign in with a passkey"


async def count_try(db: Database, bound: Bound, whose: str, advice: str = PASSKEY_ADVICE) -> int:
    """Count a try, and return how many there were in this span. Raises ``RequestLimit`` where these are too many."""
    now = db.clock.now()
    until = now + (bound.per - (now - _EPOCH) % bound.per)
    bucket = sha256(f"{bound.what}\0{whose.lower()}".encode()).digest()[:16]
    async with db.transaction() as tx:
        hits = int((await tx.execute(_COUNT, {"bucket": bucket, "until": until})).scalar_one())
    if hits > bound.hits:
        wait_s = max(1.0, (until - now).total_seconds())
        raise RequestLimit(
            f"That was tried too often. Try again after {until:%H:%M} UTC{advice}.",
            retry_after_s=wait_s,
            detail=bound.what,
        )
    return hits


async def count_code(db: Database, email: str, network: str) -> None:
    """Count a code that is wanted for an address, whether or not somebody has it. Raises ``RequestLimit``."""
    await count_try(db, CODES_OF_NETWORK, network)
    await count_try(db, CODES_OF_ADDRESS_HERE, f"{email} {network}")
    async with db.transaction() as tx:
        since = db.clock.now() - KNOWN_FOR
        is_known = await tx.scalar(_IS_KNOWN, {"email": email, "network": network, "since": since})
    try:
        await count_try(db, CODES_OF_ADDRESS, email)
    except RequestLimit:
        # Counted for everybody, so that the time of the answer does not tell who has signed in from here.
        if not is_known:
            raise


async def count_trial(db: Database, person: str, email: str, network: str) -> None:
    """Count a trial call. Raises ``RequestLimit``; a person's first ten in an hour pass on the busiest network."""
    advice = ", or call the API by your key"
    hits = await count_try(db, TRIALS_OF_PERSON, person, advice)
    await count_try(db, TRIALS_OF_ADDRESS, email, advice)
    if hits > TRIALS_OWN:
        await count_try(db, TRIALS_OF_NETWORK, network, advice)


async def forget_counts(db: Database) -> None:
    """Delete counts of spans that are over."""
    async with db.transaction() as tx:
        await tx.execute(_FORGET)
