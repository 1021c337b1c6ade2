"""Mails an account's owners and developers what happened to one of its keys: created, rotated, revoked by us."""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mail import enqueue
from mail.kinds import KeyCreated, KeyRevoked, KeyRotated
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork
from store.ids import AccountId, KeyId, ManagementKeyId, MemberId, PersonId, new_id, parse, wire

# How a mail calls the people and programs of the house.
HOUSE = "gigarouter"
_NAMES = {
    MemberId: text("SELECT email AS name FROM members WHERE id = :id AND account_id IS NOT NULL"),
    PersonId: text("SELECT email AS name FROM people WHERE id = :id"),
    ManagementKeyId: text("SELECT 'The management key ' || name AS name FROM management_keys WHERE id = :id"),
    KeyId: text("SELECT 'The key ' || name AS name FROM keys WHERE id = :id"),
}


class MailedKey(msgspec.Struct, frozen=True):
    """What a mail says of a key; ``masked`` is the beginning and the end of its text."""

    id: KeyId
    account_id: AccountId
    name: str
    masked: str


async def mail_created(work: UnitOfWork, key: MailedKey) -> None:
    """A key was created."""
    mail = KeyCreated(key=wire(KeyId, key.id), name=key.name, prefix=key.masked, by=await _actor_name(work))
    await enqueue(work.connection, mail, key.account_id, dedupe=f"key-created:{key.id.hex}")


async def mail_rotated(work: UnitOfWork, key: MailedKey, old_until: datetime | None) -> None:
    """A key was rotated; the secret before works until ``old_until``."""
    by = await _actor_name(work)
    mail = KeyRotated(key=wire(KeyId, key.id), name=key.name, prefix=key.masked, by=by, old_until=old_until)
    await enqueue(work.connection, mail, key.account_id, dedupe=f"key-rotated:{key.id.hex}:{new_id().hex}")


async def mail_revoked(work: UnitOfWork, key: MailedKey) -> None:
    """A key was revoked; who revoked a key of their own account is not mailed."""
    if await _actor_name(work) == HOUSE:
        mail = KeyRevoked(key=wire(KeyId, key.id), name=key.name, prefix=key.masked)
        await enqueue(work.connection, mail, key.account_id, dedupe=f"key-revoked:{key.id.hex}")


async def _actor_name(work: UnitOfWork) -> str:
    """Who acts, as the account knows them; the house, where it is nobody of the account."""
    return await _name_of(work.connection, work.actor) or HOUSE


async def _name_of(connection: AsyncConnection, actor: Actor) -> str | None:
    for kind, statement in _NAMES.items():
        try:
            identity = parse(kind, actor)
        except ValueError:
            continue
        name: str | None = await connection.scalar(statement, {"id": identity})
        return name
    return None
