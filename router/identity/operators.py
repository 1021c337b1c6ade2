"""Operators' keys for the admin API: made on the machine, shown once, stored as SHA-256, gone everywhere in a second.

A key belongs to a person with one of the operators' roles and has that role as it is now: who loses it, or is removed,
loses the key's power with it. What a role may do is decided at the edge's table.
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
from router.identity.keys import digest_of, masked, new_operator_key, well_formed_operator
from router.identity.members import OPERATORS, Role
from router.tables import MemberRow, OperatorKeyRow
from store.ids import MemberId, OperatorKeyId, new_id, wire

OPERATOR_KEYS = OperatorKeyRow.__table__

MISSING = (
    "You didn't provide an operator's key: 'Authorization: Bearer gr_ops_…'. `gigarouter admin operators` makes one."
)


class Operator(msgspec.Struct, frozen=True):
    """Who asks the admin API. ``name`` is the person's e-mail address."""

    member_id: MemberId
    role: Role
    name: str
    key_id: OperatorKeyId
    digest: bytes
    expires_at: datetime | None = None


class OperatorKeyView(msgspec.Struct, frozen=True):
    """An operator's key as people see it: everything but the key."""

    id: OperatorKeyId
    member_id: MemberId
    email: str
    role: Role
    name: str
    shown: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class OperatorIndex:
    """Every operator's key that works, by digest, in this process's memory; ``registry.refresh`` keeps it fresh."""

    __slots__ = ("_by_digest",)

    def __init__(self) -> None:
        self._by_digest: Mapping[bytes, Operator] = {}

    def replace(self, operators: Mapping[bytes, Operator]) -> None:
        """All of them anew."""
        self._by_digest = operators

    def find(self, digest: bytes) -> Operator | None:
        """Whose key has this digest."""
        found = self._by_digest.get(digest)
        return found if found is not None and hmac.compare_digest(found.digest, digest) else None


async def create_operator_key(
    work: UnitOfWork, member_id: MemberId, name: str, *, expires_at: datetime | None = None
) -> tuple[str, OperatorKeyView]:
    """A new key of an operator, and its text this once. Raises ``NotFound``, ``InvalidRequest``."""
    if not 1 <= len(name) <= 200:
        raise InvalidRequest("A key has a name of 1 to 200 characters.", param="name")
    if expires_at is not None and expires_at <= work.now:
        raise InvalidRequest("The key would be expired already.", param="expires_at")
    query = select(MemberRow.role).where(MemberRow.id == member_id, MemberRow.removed_at.is_(None))
    role = await work.connection.scalar(query.with_for_update(key_share=True))
    if role is None:
        raise NotFound(f"There is no member {wire(MemberId, member_id)}.", param="member")
    if Role(role) not in OPERATORS:
        raise InvalidRequest(f"A person with the role {role} belongs to an account and is no operator.", param="member")
    fresh, key_id = new_operator_key(), OperatorKeyId(new_id())
    row = {"id": key_id, "member_id": member_id, "name": name, "handle": fresh.handle, "last4": fresh.last4}
    row |= {"digest": fresh.digest, "expires_at": expires_at}
    await work.connection.execute(insert(OperatorKeyRow), row)
    view = await get_operator_key(work.connection, key_id)
    after: dict[str, object] = {"member": wire(MemberId, member_id), "name": name, "shown": view.shown}
    after["expires_at"] = expires_at.isoformat() if expires_at else None
    work.changed(Change("operator_key.create", wire(OperatorKeyId, key_id), after=after))
    return fresh.text, view


async def revoke_operator_key(work: UnitOfWork, key_id: OperatorKeyId) -> OperatorKeyView:
    """End a key for good; every process refuses it within a second. Raises ``NotFound``, ``Conflict``."""
    before = await get_operator_key(work.connection, key_id, locked=True)
    if before.revoked_at is not None:
        raise Conflict(f"{before.shown} was revoked at {before.revoked_at:%Y-%m-%d %H:%M} UTC, which is final.")
    ended = update(OperatorKeyRow).where(OperatorKeyRow.id == key_id).values(revoked_at=work.now)
    await work.connection.execute(ended)
    was: dict[str, object] = {"member": wire(MemberId, before.member_id), "name": before.name, "shown": before.shown}
    work.changed(Change("operator_key.revoke", wire(OperatorKeyId, key_id), None, was))
    return msgspec.structs.replace(before, revoked_at=work.now)


async def get_operator_key(
    connection: AsyncConnection, key_id: OperatorKeyId, *, locked: bool = False
) -> OperatorKeyView:
    """Raises ``NotFound``."""
    query = _query().where(OperatorKeyRow.id == key_id)
    row = (await connection.execute(query.with_for_update(of=OperatorKeyRow) if locked else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no operator's key {wire(OperatorKeyId, key_id)}.", param="key")
    return _view(row)


async def list_operator_keys(connection: AsyncConnection) -> list[OperatorKeyView]:
    """All of them, the newest first, revoked ones too."""
    return [_view(row) for row in await connection.execute(_query().order_by(OperatorKeyRow.id.desc()))]


async def read_operators(connection: AsyncConnection) -> dict[bytes, Operator]:
    """The keys that work, by digest: neither revoked, nor of a person who is gone."""
    query = _query().where(OperatorKeyRow.revoked_at.is_(None), MemberRow.removed_at.is_(None))
    return {
        row.digest: Operator(
            MemberId(row.member_id), Role(row.role), row.email, OperatorKeyId(row.id), row.digest, row.expires_at
        )
        for row in await connection.execute(query)
        if Role(row.role) in OPERATORS
    }


async def authenticate_operator(
    authorization: str | None,
    operators: OperatorIndex,
    keys: KeyIndex,
    now: datetime,
    catch_up: Callable[[], Awaitable[None]],
) -> Operator:
    """Who asks, from ``Authorization: Bearer gr_ops_…``; ``keys`` knows how fresh this process's memory is.

    Raises ``KeyMissing``, ``KeyUnknown``, ``KeyExpired``, and ``StoreUnavailable`` where this process cannot know.
    """
    if not authorization or authorization[:7].lower() != "bearer " or len(authorization) == 7:
        raise KeyMissing(MISSING)
    text = authorization[7:]
    if not well_formed_operator(text):
        raise KeyUnknown(
            f"Incorrect API key provided: {masked(text)}. The admin API takes operators' keys, gr_ops_…, whole and as "
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
        raise KeyUnknown(f"Incorrect API key provided: {masked(text)}. It does not exist or was revoked.")
    if operator.expires_at is not None and operator.expires_at <= now:
        expired_at = f"{operator.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        raise KeyExpired(f"The operator's key {masked(text)} expired at {expired_at}. Make another one.")
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
        shown=f"gr_ops_{row.handle[:4]}…{row.last4}",
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
