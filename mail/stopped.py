"""Keeps the stop list: addresses that nothing is mailed to, or nothing of a topic, and why.

An address gets onto it when a mail server says for good that it knows no such mailbox, when its reader unsubscribes,
and by operators, who feed it from bounces.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mail.values import Topic

# In place of a topic: nothing at all.
EVERYTHING = "all"
_ADD = text("""
    INSERT INTO stopped_addresses (address, topic, reason, detail, created_by)
    VALUES (lower(:address), :topic, :reason, :detail, :by) ON CONFLICT (address, topic) DO NOTHING
""")
_FIND = text("""
    SELECT topic, reason FROM stopped_addresses
    WHERE address = lower(:address) AND topic = ANY(:topics) AND NOT reason = ANY(:ignored)
""")
_DELIVERED = text("DELETE FROM stopped_addresses WHERE address = lower(:address) AND reason = 'bounced'")
_REMOVE = text("DELETE FROM stopped_addresses WHERE address = lower(:address) AND topic = :topic")
_LIST = text("""
    SELECT address, topic, reason, detail, created_at, created_by FROM stopped_addresses
    WHERE (address, topic) > (:address, :topic) ORDER BY address, topic LIMIT :limit
""")
_OF_LINK = text("SELECT address, kind FROM mails WHERE unsubscribe_id = :id AND address NOT LIKE 'erased %'")


class StopReason(StrEnum):
    """Why nothing is mailed."""

    BOUNCED = "bounced"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    OPERATOR = "operator"


class StoppedAddress(msgspec.Struct, frozen=True):
    """An address of the stop list. ``topic``: ``all``, or one of :class:`mail.Topic`'s."""

    address: str
    topic: str
    reason: StopReason
    detail: str
    created_at: datetime
    created_by: str


async def stop(
    tx: AsyncConnection,
    address: str,
    reason: StopReason,
    *,
    topic: str = EVERYTHING,
    detail: str = "",
    by: str = "jobs",
) -> bool:
    """Put an address onto the list; False where it was there."""
    row = {"address": address, "topic": topic, "reason": reason.value, "detail": detail[:500], "by": by}
    return (await tx.execute(_ADD, row)).rowcount > 0


async def find_stop(
    tx: AsyncConnection, address: str, topic: Topic | None, *, despite_bounces: bool = False
) -> str | None:
    """Why a mail of a topic is not sent to an address; None where it is."""
    topics = [EVERYTHING, *([topic.value] if topic else [])]
    ignored = [StopReason.BOUNCED.value] if despite_bounces else []
    row = (await tx.execute(_FIND, {"address": address, "topics": topics, "ignored": ignored})).first()
    return None if row is None else f"the address is on the stop list: {row.reason} ({row.topic})"


async def note_delivered(tx: AsyncConnection, address: str) -> None:
    """A mail server took a mail to the address: that one bounced is over."""
    await tx.execute(_DELIVERED, {"address": address})


async def remove(tx: AsyncConnection, address: str, topic: str) -> bool:
    """Take an address off the list; False where it was not there."""
    return (await tx.execute(_REMOVE, {"address": address, "topic": topic})).rowcount > 0


async def list_stopped(tx: AsyncConnection, *, after: tuple[str, str], limit: int) -> list[StoppedAddress]:
    """The list by address and topic."""
    rows = await tx.execute(_LIST, {"address": after[0], "topic": after[1], "limit": limit})
    return [msgspec.convert(dict(row._mapping), StoppedAddress) for row in rows]


async def find_link(tx: AsyncConnection, unsubscribe_id: UUID) -> tuple[str, str] | None:
    """Whose link to unsubscribe this is, and the kind of the mail that had it."""
    row = (await tx.execute(_OF_LINK, {"id": unsubscribe_id})).one_or_none()
    return None if row is None else (row.address, row.kind)
