"""Mails accounts whose keys end soon: two weeks and a day before, once each."""

from datetime import datetime, timedelta

from sqlalchemy import text

from mail import enqueue
from mail.kinds import KeyExpiring
from router.identity.key_views import get_key
from store.ids import KeyId, wire
from store.postgres import Database

NOTICE_DAYS = (14, 1)
_ENDING = text("""
    SELECT id FROM keys WHERE revoked_at IS NULL AND expires_at > :now AND expires_at <= :until ORDER BY expires_at, id
""")


async def notify_ending(db: Database, now: datetime) -> int:
    """Have everybody mailed whose keys end within two weeks, and a day; how many mails were new."""
    async with db.transaction() as tx:
        until = now + timedelta(days=max(NOTICE_DAYS))
        ending = (await tx.execute(_ENDING, {"now": now, "until": until})).scalars().all()
    count = 0
    for key_id in ending:
        async with db.transaction() as tx:
            view = await get_key(tx, KeyId(key_id))
            at = view.spec.expires_at
            days = notice_due(view.created_at, at, now) if at is not None else None
            if at is None or days is None or view.revoked_at is not None:
                continue
            mail = KeyExpiring(key=wire(KeyId, view.id), name=view.spec.name, prefix=view.masked, at=at)
            dedupe = f"key-ending:{view.id.hex}:{at:%Y%m%dT%H%M%S}:{days}"
            count += await enqueue(tx, mail, view.account_id, dedupe=dedupe)
    return count


def notice_due(created_at: datetime, expires_at: datetime, now: datetime) -> int | None:
    """Which notice is due, as its days; None where a key was made to last less, or has ended."""
    reached = [days for days in NOTICE_DAYS if expires_at - timedelta(days=days) <= now < expires_at]
    nearest = min(reached, default=None)
    return None if nearest is None or created_at > expires_at - timedelta(days=nearest) else nearest
