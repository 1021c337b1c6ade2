"""Stores what Stripe told, once per event, and requests the work that it makes, in one transaction."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe import work
from billing.stripe.events import Notice, Source

_STORE = text("""
    INSERT INTO stripe_events (id, type, subject, source) VALUES (:id, :type, :subject, :source)
    ON CONFLICT DO NOTHING RETURNING id
""")


async def store(tx: AsyncConnection, notice: Notice, source: Source) -> bool:
    """Store an event; False where it was stored before, and then nothing is requested."""
    facts = {"id": notice.id, "type": notice.type, "subject": notice.subject, "source": source}
    if await tx.scalar(_STORE, facts) is None:
        return False
    if notice.subject:
        await work.request(tx, notice.subject)
    return True
