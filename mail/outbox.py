"""Keeps the outbox: a row per mail and address, written with what causes it, claimed, sent and marked by jobs.

A row that is claimed is nobody else's for some minutes. A mail that was sent by a process that died before it marked
it is sent again with the same Message-ID, by which its reader's program knows it. Sends nothing itself.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from secrets import token_bytes
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from mail.kinds import KINDS
from mail.values import DEFAULT_LOCALE, DEFAULT_ZONE, Audience, Mail, Recipient, Staff
from store.ids import AccountId, MailId, new_id

# Whoever sends a mail has it for so long; a failure waits twice as long as the one before, at most six hours.
LEASE, FIRST_PAUSE, LAST_PAUSE = timedelta(minutes=5), timedelta(seconds=15), timedelta(hours=6)
# So long is known what was mailed, so that nothing is mailed twice; no cause comes again after so long.
FORGOTTEN_AFTER = timedelta(days=400)

_ADD = text("""
    INSERT INTO mails (id, dedupe, address, account_id, staff, kind, locale, zone, facts, message_id, unsubscribe_id,
        priority, until)
    VALUES (:id, :dedupe, :address, :account, :staff, :kind, :locale, :zone, CAST(:facts AS jsonb), :message_id,
        :unsubscribe, :priority, now() + CAST(:useful_for AS interval))
    ON CONFLICT (dedupe, address) DO NOTHING
""")
_KNOWN = text("SELECT dedupe FROM mails WHERE dedupe = ANY(:dedupes)")
_CLAIM = text("""
    UPDATE mails SET run_after = now() + CAST(:lease AS interval), attempts = attempts + 1 WHERE id = (
        SELECT id FROM mails WHERE state = 'waiting' AND run_after <= now() AND until > now() AND kind = ANY(:kinds)
        ORDER BY priority, run_after, id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING *
""")
_GIVE_UP = text("""
    UPDATE mails SET state = 'failed', fault = coalesce(nullif(fault, ''), 'no mail server was set'),
        facts = CASE WHEN kind = ANY(:secret) THEN '{}' ELSE facts END
    WHERE state = 'waiting' AND until <= now()
""")
_SPLIT = text("""
    INSERT INTO mails (id, dedupe, address, account_id, staff, kind, locale, zone, facts, message_id, unsubscribe_id,
        priority, until, created_at)
    SELECT :id, dedupe, :address, account_id, staff, kind, :locale, :zone, facts, message_id, :unsubscribe, priority,
        until, created_at
    FROM mails WHERE id = :of ON CONFLICT (dedupe, address) DO NOTHING
""")
_END = text("""
    UPDATE mails SET state = :state, fault = :fault, sent_at = CASE WHEN :state = 'sent' THEN now() END,
        facts = CASE WHEN :erases THEN '{}' ELSE facts END
    WHERE id = :id AND state = 'waiting'
""")
_POSTPONE = text("""
    UPDATE mails SET fault = :fault, run_after = now() + CAST(:pause AS interval) WHERE id = :id AND state = 'waiting'
""")
_ERASE = text("""
    UPDATE mails SET address = 'erased ' || id, facts = '{}',
        state = CASE WHEN state = 'waiting' THEN 'dropped' ELSE state END
    WHERE account_id = :account AND address <> '' AND kind = ANY(:kinds)
""")
_ERASE_ADDRESS = text("""
    UPDATE mails SET address = 'erased ' || id, facts = '{}',
        state = CASE WHEN state = 'waiting' THEN 'dropped' ELSE state END
    WHERE lower(address) = ANY(:addresses)
""")
_FORGET = text("DELETE FROM mails WHERE created_at < now() - CAST(:age AS interval)")

To: TypeAlias = Recipient | Staff | UUID
_SECRET = [kind for kind, mail in KINDS.items() if mail.has_secret]


class StoredMail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that is to be sent, for the so many-th time. ``address`` is empty where it is still to be found."""

    id: MailId
    mail: Mail
    address: str
    account_id: AccountId | None
    staff: Staff | None
    locale: str
    zone: str
    message_id: str
    unsubscribe_id: UUID | None
    attempts: int
    created_at: datetime


_FAILED = text("SELECT count(*) AS failed, min(created_at) AS since FROM mails WHERE state = 'failed'")


async def enqueue(tx: AsyncConnection, mail: Mail, to: To, *, dedupe: str, account_id: AccountId | None = None) -> bool:
    """Have a mail sent; False where it was enqueued before.

    ``to`` an account's id: to those of its people whom mails of this kind concern. ``account_id``: the account that a
    mail to one :class:`Recipient` is about, if any.
    """
    return (await tx.execute(_ADD, _row(mail, to, dedupe, account_id))).rowcount > 0


async def enqueue_all(tx: AsyncConnection, mail: Mail, accounts: Sequence[AccountId], *, dedupe: str) -> None:
    """Have one mail sent to many accounts, once to each."""
    if accounts:
        await tx.execute(_ADD, [_row(mail, account, f"{dedupe}:{account.hex}", None) for account in accounts])


def _row(mail: Mail, to: To, dedupe: str, account_id: AccountId | None) -> dict[str, object]:
    recipient = to if isinstance(to, Recipient) else None
    identity = MailId(new_id())
    return {
        "id": identity,
        "dedupe": dedupe,
        "address": recipient.address if recipient else "",
        "account": AccountId(to) if isinstance(to, UUID) else account_id,
        "staff": to.value if isinstance(to, Staff) else None,
        "kind": mail.kind,
        "locale": recipient.locale if recipient else DEFAULT_LOCALE,
        "zone": recipient.zone if recipient else DEFAULT_ZONE,
        "facts": msgspec.json.encode(mail).decode(),
        "message_id": identity.hex,
        "unsubscribe": _new_unsubscribe_id(mail) if recipient else None,
        "priority": mail.priority,
        "useful_for": mail.useful_for,
    }


async def known(tx: AsyncConnection, dedupes: Sequence[str]) -> frozenset[str]:
    """Which of these were enqueued before."""
    return frozenset((await tx.execute(_KNOWN, {"dedupes": list(dedupes)})).scalars()) if dedupes else frozenset()


async def claim(tx: AsyncConnection) -> StoredMail | None:
    """The next mail, which nobody else has for some minutes. Kinds of a later release are left to it."""
    while (row := (await tx.execute(_CLAIM, {"lease": LEASE, "kinds": list(KINDS)})).one_or_none()) is not None:
        try:
            return _stored(row)
        except msgspec.ValidationError as fault:
            facts = {"id": row.id, "state": "failed", "fault": f"its facts cannot be read: {fault}"[:500]}
            await tx.execute(_END, {**facts, "erases": False})
    return None


async def give_up(tx: AsyncConnection) -> int:
    """Give up what is of no use any more; how many."""
    return (await tx.execute(_GIVE_UP, {"secret": _SECRET})).rowcount


async def count_failed(tx: AsyncConnection) -> tuple[int, datetime | None]:
    """How many mails were given up and are still kept, and since when the oldest of them has been there."""
    row = (await tx.execute(_FAILED)).one()
    return int(row.failed), row.since


async def split(tx: AsyncConnection, stored: StoredMail, recipients: Sequence[Recipient]) -> None:
    """Make a mail to an account, or to the staff, into one for each of these addresses, all of one Message-ID."""
    for recipient in recipients:
        row = {"id": new_id(), "of": stored.id, "address": recipient.address}
        places = {"locale": recipient.locale, "zone": recipient.zone}
        await tx.execute(_SPLIT, {**row, **places, "unsubscribe": _new_unsubscribe_id(stored.mail)})
    await _end(tx, stored, "split")


async def mark_sent(tx: AsyncConnection, stored: StoredMail) -> None:
    """The mail server took it."""
    await _end(tx, stored, "sent")


async def mark_failed(tx: AsyncConnection, stored: StoredMail, fault: str) -> None:
    """It will never be taken."""
    await _end(tx, stored, "failed", fault)


async def drop(tx: AsyncConnection, stored: StoredMail, why: str) -> None:
    """It is not sent: its reader wants none of it, or it is not true any more."""
    await _end(tx, stored, "dropped", why)


async def postpone(tx: AsyncConnection, stored: StoredMail, fault: str) -> None:
    """It was not sent this time; it is tried again later."""
    pause = min(FIRST_PAUSE * 2 ** min(stored.attempts - 1, 12), LAST_PAUSE)
    await tx.execute(_POSTPONE, {"id": stored.id, "fault": fault[:500], "pause": pause})


async def erase(tx: AsyncConnection, account_id: AccountId, audience: Audience) -> None:
    """Erase whom an account's mails of an audience were sent to, and what they said; drop those that wait."""
    kinds = [kind for kind, mail in KINDS.items() if mail.audience is audience]
    await tx.execute(_ERASE, {"account": account_id, "kinds": kinds})


async def erase_addresses(tx: AsyncConnection, addresses: Sequence[str]) -> None:
    """Erase that anything was mailed to these addresses, and what; drop what waits."""
    await tx.execute(_ERASE_ADDRESS, {"addresses": [address.lower() for address in addresses]})


async def forget_old(tx: AsyncConnection) -> None:
    """Delete what is older than any cause that could come again."""
    await tx.execute(_FORGET, {"age": FORGOTTEN_AFTER})


async def _end(tx: AsyncConnection, stored: StoredMail, state: str, fault: str = "") -> None:
    row = {"id": stored.id, "state": state, "fault": fault[:500], "erases": stored.mail.has_secret}
    await tx.execute(_END, row)


def _new_unsubscribe_id(mail: Mail) -> UUID | None:
    """128 random bits: whoever has them may stop mails of the topic to the address, and nothing else."""
    return None if mail.topic is None else UUID(bytes=token_bytes(16))


def _stored(row: Row[Any]) -> StoredMail:
    return StoredMail(
        id=MailId(row.id),
        mail=msgspec.convert(row.facts, KINDS[row.kind]),
        address=row.address,
        account_id=None if row.account_id is None else AccountId(row.account_id),
        staff=None if row.staff is None else Staff(row.staff),
        locale=row.locale,
        zone=row.zone,
        message_id=row.message_id,
        unsubscribe_id=row.unsubscribe_id,
        attempts=row.attempts,
        created_at=row.created_at,
    )
