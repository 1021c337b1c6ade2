"""Creates, revokes, lists and authenticates management keys, which administer one account and call no model.

A management key is of the same form as an API key, is stored as SHA-256 alone and is shown once. It is looked up in
Postgres at each request, since what it asks for is there anyway: revoked, it is refused from the next request on.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, func, insert, literal_column, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest, KeyExpired, KeyUnknown, NotFound, StoreUnavailable
from router.identity.key_networks import canonical_networks
from router.identity.key_policies import bounded_expiry, exceeds
from router.identity.keys import MANAGEMENT, digest_of, is_well_formed_management, mask, new_management_key
from router.identity.members import Role
from router.identity.principals import ManagementKey
from router.identity.scopes import GRANTABLE, GRANTABLE_TO_MEMBERS, ROLE_SCOPES, Scope, with_reads
from router.networks import ranges_of
from router.tables import Json, ManagementKeyRow, MemberRow
from store.ids import AccountId, ManagementKeyId, MemberId, new_id, wire
from store.postgres import STORE_FAULTS, Database

MANAGEMENT_KEYS = ManagementKeyRow.__table__
_MAX_DAYS: ColumnElement[int | None] = literal_column(
    "(SELECT p.max_days FROM key_policies p WHERE p.account_id = management_keys.account_id)"
)
_VIEWS = select(MANAGEMENT_KEYS, _MAX_DAYS.label("max_days"), func.clock_timestamp().label("read_at"))
# Those that work, per account: each is one more that may leak.
WORKING_MAX = 50


class ManagementKeySpec(msgspec.Struct, frozen=True):
    """What is set on a management key when it is made; of it only the networks change later.

    ``member_id``: for whom it acts: it ends with that member, and has no scope that the member's role has not.
    """

    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None
    member_id: MemberId | None = None
    networks: tuple[str, ...] = ()


class ManagementKeyView(msgspec.Struct, frozen=True):
    """A management key as people see it: everything but its text, of which ``masked`` is the beginning and the end."""

    id: ManagementKeyId
    account_id: AccountId
    name: str
    masked: str
    scopes: tuple[Scope, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    networks: tuple[str, ...] = ()
    exceeds_max_life: bool = False


async def create_management_key(
    work: UnitOfWork, account_id: AccountId, spec: ManagementKeySpec
) -> tuple[str, ManagementKeyView]:
    """Create a management key of an account, and return its text this once.

    Raises ``NotFound`` for an unknown account, ``InvalidRequest``, and ``Conflict`` for more than an account may have.
    """
    expires_at = await bounded_expiry(work.connection, account_id, spec.expires_at, work.now)
    spec = msgspec.structs.replace(spec, expires_at=expires_at)
    _validate(spec, work.now)
    await _require_few(work, account_id)
    fresh, key_id = new_management_key(), ManagementKeyId(new_id())
    row = {"id": key_id, "account_id": account_id, "name": spec.name, "handle": fresh.handle, "last4": fresh.last4}
    row |= {"digest": fresh.digest, "scopes": [scope.value for scope in Scope if scope in spec.scopes]}
    row |= {"created_by": work.actor, "expires_at": spec.expires_at, "member_id": spec.member_id}
    row |= {"networks": list(canonical_networks(spec.networks))}
    try:
        await work.connection.execute(insert(ManagementKeyRow), row)
    except IntegrityError as error:
        if violated_constraint(error) == "management_keys_account_id_fkey":
            raise NotFound("There is no such account.", param="account") from error
        raise
    view = await get_management_key(work.connection, key_id)
    work.record_change(Change("management_key.create", wire(ManagementKeyId, key_id), account_id, after=_facts(view)))
    return fresh.text, view


async def change_management_key(
    work: UnitOfWork, key_id: ManagementKeyId, networks: Sequence[str], account_id: AccountId | None = None
) -> ManagementKeyView:
    """Replace the networks from which a key may be used, from the next request on.

    Raises ``NotFound``, ``InvalidRequest``, and ``Conflict`` for a key that is revoked.
    """
    before = await _lock(work, key_id, account_id)
    after = msgspec.structs.replace(before, networks=canonical_networks(networks))
    changed = update(ManagementKeyRow).where(ManagementKeyRow.id == key_id).values(networks=list(after.networks))
    await work.connection.execute(changed)
    subject = wire(ManagementKeyId, key_id)
    work.record_change(Change("management_key.change", subject, before.account_id, _facts(before), _facts(after)))
    return after


async def revoke_management_key(
    work: UnitOfWork, key_id: ManagementKeyId, account_id: AccountId | None = None
) -> ManagementKeyView:
    """End a key for good, from the next request on. Raises ``NotFound``, ``Conflict`` for one that is revoked."""
    before = await _lock(work, key_id, account_id)
    await _end(work, before)
    return msgspec.structs.replace(before, revoked_at=work.now)


async def revoke_all_management_keys(work: UnitOfWork, account_id: AccountId) -> int:
    """End all keys of an account that work, and return how many there were."""
    working = [one for one in await list_management_keys(work.connection, account_id) if one.revoked_at is None]
    for view in working:
        await _end(work, view)
    return len(working)


async def get_management_key(
    connection: AsyncConnection,
    key_id: ManagementKeyId,
    account_id: AccountId | None = None,
    *,
    locked: bool = False,
) -> ManagementKeyView:
    """Read one key, of ``account_id`` where that is given, and lock its row where ``locked``. Raises ``NotFound``."""
    query = _VIEWS.where(ManagementKeyRow.id == key_id)
    if account_id is not None:
        query = query.where(ManagementKeyRow.account_id == account_id)
    row = (await connection.execute(query.with_for_update() if locked else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no management key {wire(ManagementKeyId, key_id)}.", param="key")
    return _view_in_account(row)


async def list_management_keys(
    connection: AsyncConnection,
    account_id: AccountId | None = None,
    *,
    before: ManagementKeyId | None = None,
    limit: int | None = None,
) -> list[ManagementKeyView]:
    """List the keys of an account, or all, the newest first, revoked ones too; ``before`` one, at most ``limit``."""
    query = _VIEWS.order_by(ManagementKeyRow.id.desc()).limit(limit)
    if account_id is not None:
        query = query.where(ManagementKeyRow.account_id == account_id)
    if before is not None:
        query = query.where(ManagementKeyRow.id < before)
    return [_view_in_account(row) for row in await connection.execute(query)]


async def authenticate_management_key(authorization: str, db: Database, now: datetime) -> ManagementKey:
    """Authenticate ``Authorization: Bearer gr_mgmt_…``.

    Raises ``KeyUnknown``, ``KeyExpired``, and ``StoreUnavailable`` where Postgres cannot say.
    """
    text = authorization[7:]
    if not is_well_formed_management(text):
        raise KeyUnknown(
            f"Incorrect API key provided: {mask(text)}. Its checksum does not fit, so it is mistyped or cut off; copy "
            "it again from where you keep it."
        )
    query = select(MANAGEMENT_KEYS, MemberRow.role, MemberRow.removed_at)
    query = query.outerjoin(MemberRow, MemberRow.id == ManagementKeyRow.member_id)
    query = query.where(ManagementKeyRow.digest == digest_of(text))
    try:
        async with db.transaction() as connection:
            row = (await connection.execute(query.where(ManagementKeyRow.revoked_at.is_(None)))).one_or_none()
    except STORE_FAULTS as fault:
        raise StoreUnavailable(
            "Management keys cannot be checked at the moment. Try again shortly.", detail=repr(fault), retry_after_s=2.0
        ) from fault
    if row is None or row.removed_at is not None:
        raise KeyUnknown(f"Incorrect API key provided: {mask(text)}. It does not exist or was revoked.")
    if row.expires_at is not None and row.expires_at <= now:
        expired_at = f"{row.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        raise KeyExpired(f"The management key {mask(text)} expired at {expired_at}. An owner makes another one.")
    view, scopes = _view(row), with_reads(Scope(scope) for scope in row.scopes)
    if row.role is not None:
        scopes &= ROLE_SCOPES[Role(row.role)]
    return ManagementKey(
        id=view.id,
        account_id=view.account_id,
        name=view.name,
        masked=view.masked,
        scopes=scopes,
        expires_at=view.expires_at,
        member_id=None if row.member_id is None else MemberId(row.member_id),
        networks=ranges_of(row.networks),
    )


async def _lock(work: UnitOfWork, key_id: ManagementKeyId, account_id: AccountId | None) -> ManagementKeyView:
    view = await get_management_key(work.connection, key_id, account_id, locked=True)
    if view.revoked_at is not None:
        raise Conflict(f"{view.masked} was revoked at {view.revoked_at:%Y-%m-%d %H:%M} UTC, which is final.")
    return view


async def _end(work: UnitOfWork, view: ManagementKeyView) -> None:
    ended = update(ManagementKeyRow).where(ManagementKeyRow.id == view.id).values(revoked_at=work.now)
    await work.connection.execute(ended)
    subject = wire(ManagementKeyId, view.id)
    work.record_change(Change("management_key.revoke", subject, view.account_id, _facts(view)))


async def _require_few(work: UnitOfWork, account_id: AccountId) -> None:
    query = select(func.count()).select_from(MANAGEMENT_KEYS)
    query = query.where(ManagementKeyRow.account_id == account_id, ManagementKeyRow.revoked_at.is_(None))
    if (await work.connection.execute(query)).scalar_one() >= WORKING_MAX:
        raise Conflict(f"The account has {WORKING_MAX} management keys that are not revoked. Revoke one first.")


def _validate(spec: ManagementKeySpec, now: datetime) -> None:
    if not 1 <= len(spec.name) <= 200:
        raise InvalidRequest("A key has a name of 1 to 200 characters.", param="name")
    if spec.expires_at is not None and spec.expires_at <= now:
        raise InvalidRequest("The key would be expired already.", param="expires_at")
    validate_scopes(spec.scopes, GRANTABLE if spec.member_id is None else GRANTABLE_TO_MEMBERS)


def validate_scopes(scopes: Collection[Scope], grantable: frozenset[Scope]) -> None:
    """Raise ``InvalidRequest`` where a management key cannot have these scopes."""
    if not scopes or not frozenset(scopes) <= grantable:
        known = ", ".join(scope.value for scope in Scope if scope in grantable)
        raise InvalidRequest(f"A management key has one or several of {known}.", param="scopes")


def _view_in_account(row: Row[Any]) -> ManagementKeyView:
    is_too_long = row.revoked_at is None and exceeds(row.expires_at, row.max_days, row.read_at)
    return msgspec.structs.replace(_view(row), exceeds_max_life=is_too_long)


def _view(row: Row[Any]) -> ManagementKeyView:
    return ManagementKeyView(
        id=ManagementKeyId(row.id),
        account_id=AccountId(row.account_id),
        name=row.name,
        masked=f"{MANAGEMENT}{row.handle[:4]}…{row.last4}",
        scopes=tuple(Scope(scope) for scope in row.scopes),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        networks=tuple(str(network) for network in row.networks),
    )


def _facts(view: ManagementKeyView) -> Json:
    return {
        "name": view.name,
        "shown": view.masked,
        "scopes": [scope.value for scope in view.scopes],
        "expires_at": view.expires_at.isoformat() if view.expires_at else None,
        "networks": list(view.networks),
    }
