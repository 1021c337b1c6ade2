"""Lists, renames and removes a person's passkeys: what needs no library that reads them."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest, NotFound
from router.identity.people.mails import PasskeyRemoved
from router.identity.people.people import notify_person
from store.ids import PasskeyId, PersonId, wire

PASSKEY_COLUMNS = (
    "id, person_id, credential_id, public_key, sign_count, is_synced, name, created_at, last_used_at, stalled_at"
)
LIST_PASSKEYS = text(f"SELECT {PASSKEY_COLUMNS} FROM passkeys WHERE person_id = :person ORDER BY id")  # noqa: S608 - constants
_OWN = text(f"SELECT {PASSKEY_COLUMNS} FROM passkeys WHERE id = :id AND person_id = :person FOR UPDATE")  # noqa: S608
_RENAME = text("UPDATE passkeys SET name = :name WHERE id = :id")
_REMOVE = text("DELETE FROM passkeys WHERE id = :id")


class Passkey(msgspec.Struct, frozen=True):
    """A passkey as its person sees it. ``stalled_at``: when its counter last failed to grow."""

    id: PasskeyId
    name: str
    is_synced: bool
    created_at: datetime
    last_used_at: datetime | None
    stalled_at: datetime | None


async def list_passkeys(connection: AsyncConnection, person_id: PersonId) -> list[Passkey]:
    """List a person's passkeys, the oldest first."""
    return [_passkey(row) for row in await connection.execute(LIST_PASSKEYS, {"person": person_id})]


async def rename_passkey(work: UnitOfWork, person_id: PersonId, passkey_id: PasskeyId, name: str) -> Passkey:
    """Give a passkey another name. Raises ``NotFound``, ``InvalidRequest``."""
    if not 1 <= len(name.strip()) <= 100 or not name.isprintable():
        raise InvalidRequest("A passkey's name has 1 to 100 characters, without line breaks.", param="name")
    before = await _own(work, person_id, passkey_id)
    await work.connection.execute(_RENAME, {"id": passkey_id, "name": name.strip()})
    _record(work, "passkey.rename", person_id, before, name.strip())
    return msgspec.structs.replace(before, name=name.strip())


async def remove_passkey(work: UnitOfWork, person_id: PersonId, passkey_id: PasskeyId) -> None:
    """Remove a passkey; all of the person's addresses are told. Raises ``NotFound``."""
    before = await _own(work, person_id, passkey_id)
    await work.connection.execute(_REMOVE, {"id": passkey_id})
    _record(work, "passkey.remove", person_id, before, None)
    dedupe = f"passkey-removed:{passkey_id.hex}"
    await notify_person(work, person_id, PasskeyRemoved(name=before.name, at=work.now), dedupe=dedupe)


async def _own(work: UnitOfWork, person_id: PersonId, passkey_id: PasskeyId) -> Passkey:
    row = (await work.connection.execute(_OWN, {"id": passkey_id, "person": person_id})).one_or_none()
    if row is None:
        raise NotFound(f"There is no passkey {wire(PasskeyId, passkey_id)}.", param="passkey")
    return _passkey(row)


def _record(work: UnitOfWork, action: str, person_id: PersonId, before: Passkey, name: str | None) -> None:
    was: dict[str, object] = {"passkey": wire(PasskeyId, before.id), "name": before.name}
    after: dict[str, object] | None = None if name is None else {"name": name}
    work.record_change(Change(action, wire(PersonId, person_id), None, was, after))


def _passkey(row: Row[Any]) -> Passkey:
    return Passkey(PasskeyId(row.id), row.name, row.is_synced, row.created_at, row.last_used_at, row.stalled_at)
