"""Creates, revokes and authenticates operators' keys for the admin API, which are stored as SHA-256 alone.

A key is made on the machine and shown once; revoked, it is refused everywhere within a second. It belongs to a person
with one of the operators' roles and has that role as it is now: a person who loses it, or is removed, loses the key's
power with it. What a role may do, :mod:`router.api.access` decides.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, KeyExpired, KeyMissing, KeyUnknown, NotFound, StoreUnavailable
from router.identity.authenticate import KeyIndex
from router.identity.keys import digest_of, is_well_formed_operator, mask, new_operator_key
from router.identity.members import OPERATOR_ROLES, Role
from router.tables import MemberRow, OperatorKeyRow
from store.ids import MemberId, OperatorKeyId, SessionId, new_id, wire

OPERATOR_KEYS = OperatorKeyRow.__table__

MISSING = (
    "You didn't provide an operator's key: 'Authorization: Bearer gr_ops_…'. "
    "`gigarouter admin operators create` makes one."
)


class Operator(msgspec.Struct, frozen=True):
    """An authenticated operator. ``name`` is the person's e-mail address; one who signed in came without a key."""

    member_id: MemberId
    role: Role
    name: str
    key_id: OperatorKeyId | None = None
    digest: bytes = b""
    expires_at: datetime | None = None
    # The session of one who signed in.
    session_id: SessionId | None = None


class OperatorKeyView(msgspec.Struct, frozen=True):
    """An operator's key as people see it: everything but its text, of which ``masked`` is the beginning and the end."""

    id: OperatorKeyId
    member_id: MemberId
    email: str
    role: Role
    name: str
    masked: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class OperatorIndex:
    """Holds the operators whose keys work, by digest, in this process's memory; ``registry.refresh`` keeps it fresh."""

    __slots__ = ("_by_digest",)

    def __init__(self) -> None:
        self._by_digest: Mapping[bytes, Operator] = {}

    def replace(self, operators: Mapping[bytes, Operator]) -> None:
        """Replace all keys."""
        self._by_digest = operators

    def find(self, digest: bytes) -> Operator | None:
        """Find the operator whose key has this digest; None where there is none."""
        found = self._by_digest.get(digest)
        return found if found is not None and hmac.compare_digest(found.digest, digest) else None


async def create_operator_key(
    work: UnitOfWork, member_id: MemberId, name: str, *, expires_at: datetime | None = None
) -> tuple[str, OperatorKeyView]:
    """Create a key of an operator, and return its text this once. Raises ``NotFound``, ``InvalidRequest``."""
    if not 1 <= len(name) <= 200:
        raise InvalidRequest("A key has a name of 1 to 200 characters.", param="name")
    if expires_at is not None and expires_at <= work.now:
        raise InvalidRequest("The key would be expired already.", param="expires_at")
    query = select(MemberRow.role).where(MemberRow.id == member_id, MemberRow.removed_at.is_(None))
    role = await work.connection.scalar(query.with_for_update(key_share=True))
    if role is None:
        raise NotFound(f"There is no member {wire(MemberId, member_id)}.", param="member")
    if Role(role) not in OPERATOR_ROLES:
        raise InvalidRequest(f"A person with the role {role} belongs to an account and is no operator.", param="member")
    fresh, key_id = new_operator_key(), OperatorKeyId(new_id())
    row = {"id": key_id, "member_id": member_id, "name": name, "handle": fresh.handle, "last4": fresh.last4}
    row |= {"digest": fresh.digest, "expires_at": expires_at}
    await work.connection.execute(insert(OperatorKeyRow), row)
    view = await get_operator_key(work.connection, key_id)
    after: dict[str, object] = {"member": wire(MemberId, member_id), "name": name, "shown": view.masked}
    after["expires_at"] = expires_at.isoformat() if expires_at else None
    work.record_change(Change("operator_key.create", wire(OperatorKeyId, key_id), after=after))
    return fresh.text, view


async def revoke_operator_key(work: UnitOfWork, key_id: OperatorKeyId) -> OperatorKeyView:
    """End a key for good; every process refuses it within a second. Raises ``NotFound``, ``Conflict``."""
    before = await get_operator_key(work.connection, key_id, locked=True)
    if before.revoked_at is not None:
        raise Conflict(f"{before.masked} was revoked at {before.revoked_at:%Y-%m-%d %H:%M} UTC, which is final.")
    ended = update(OperatorKeyRow).where(OperatorKeyRow.id == key_id).values(revoked_at=work.now)
    await work.connection.execute(ended)
    was: dict[str, object] = {"member": wire(MemberId, before.member_id), "name": before.name, "shown": before.masked}
    work.record_change(Change("operator_key.revoke", wire(OperatorKeyId, key_id), None, was))
    return msgspec.structs.replace(before, revoked_at=work.now)


async def get_operator_key(
    connection: AsyncConnection, key_id: OperatorKeyId, *, locked: bool = False
) -> OperatorKeyView:
    """Read one operator's key, and lock its row where ``locked``. Raises ``NotFound``."""
    query = _query().where(OperatorKeyRow.id == key_id)
    row = (await connection.execute(query.with_for_update(of=OperatorKeyRow) if locked else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no operator's key {wire(OperatorKeyId, key_id)}.", param="key")
    return _view(row)


async def list_operator_keys(connection: AsyncConnection) -> list[OperatorKeyView]:
    """List all operators' keys, the newest first, revoked ones too."""
    return [_view(row) for row in await connection.execute(_query().order_by(OperatorKeyRow.id.desc()))]


async def load_operators(connection: AsyncConnection) -> dict[bytes, Operator]:
    """Load the operators whose keys work, by digest: neither revoked, nor of a person who was removed."""
    query = _query().where(OperatorKeyRow.revoked_at.is_(None), MemberRow.removed_at.is_(None))
    return {
        row.digest: Operator(
            MemberId(row.member_id), Role(row.role), row.email, OperatorKeyId(row.id), row.digest, row.expires_at
        )
        for row in await connection.execute(query)
        if Role(row.role) in OPERATOR_ROLES
    }


async def authenticate_operator(
    authorization: str | None,
    operators: OperatorIndex,
    keys: KeyIndex,
    now: datetime,
    catch_up: Callable[[], Awaitable[None]],
) -> Operator:
    """Authenticate ``Authorization: Bearer gr_ops_…``; ``keys`` knows how fresh this process's memory is.

    A key that is not in memory is looked up once more after ``catch_up``, since it may be a moment old. Raises
    ``KeyMissing``, ``KeyUnknown``, ``KeyExpired``, and ``StoreUnavailable`` where this process cannot know.
    """
    if not authorization or authorization[:7].lower() != "bearer " or len(authorization) == 7:
        raise KeyMissing(MISSING)
    text = authorization[7:]
    if not is_well_formed_operator(text):
        raise KeyUnknown(
            f"Incorrect API key provided: {mask(text)}. The admin API takes operators' keys, gr_ops_…, whole and as "
            "they were shown."
        )
    digest = digest_of(text)
    operator = operators.find(digest)
    if operator is None or not keys.is_fresh(now):
        await catch_up()  # it may have been made a moment ago, or revoked
        operator = operators.find(digest)
    # A customer's key outlives a cut by a minute, an operator's does not: without Postgres it could do nothing anyway.
    if not keys.is_fresh(now):
        raise StoreUnavailable(
            "Operators' keys cannot be checked at the moment. Try again shortly.",
            detail="changes do not arrive",
            retry_after_s=2.0,
        )
    if operator is None:
        raise KeyUnknown(f"Incorrect API key provided: {mask(text)}. It does not exist or was revoked.")
    if operator.expires_at is not None and operator.expires_at <= now:
        expired_at = f"{operator.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        raise KeyExpired(f"The operator's key {mask(text)} expired at {expired_at}. Make another one.")
    return operator


def _query() -> Select[Any]:
    of_member = (MemberRow.email, MemberRow.role)
    return select(OPERATOR_KEYS, *of_member).join(MemberRow, MemberRow.id == OperatorKeyRow.member_id)


def _view(row: Row[Any]) -> OperatorKeyView:
    return OperatorKeyView(
        id=OperatorKeyId(row.id),
        member_id=MemberId(row.member_id),
        email=row.email,
        role=Role(row.role),
        name=row.name,
        masked=f"gr_ops_{row.handle[:4]}…{row.last4}",
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
