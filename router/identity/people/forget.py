"""Deletes what signing in leaves behind, once its time is over."""

from sqlalchemy import text

from router.identity.people.codes import forget_codes
from router.identity.people.limits import forget_counts
from router.identity.people.sessions import forget_sessions
from store.postgres import Database

_CHALLENGES = text("DELETE FROM passkey_challenges WHERE expires_at < now() - interval '1 hour'")


async def forget_sign_ins(db: Database) -> None:
    """Delete codes a day, challenges and counts an hour, sessions 90 days after their end."""
    await forget_codes(db)
    await forget_counts(db)
    await forget_sessions(db)
    async with db.transaction() as tx:
        await tx.execute(_CHALLENGES)
