"""Creates, changes, rotates, pauses, revokes and lists the API keys of an account, in Postgres.

A key's text is returned once, by :func:`create_key` and :func:`rotate_key`, and is stored nowhere.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import MAX_AMOUNT, NanoUSD, to_usd
from billing.values import Cap, CapPeriod, Limits
from catalog.values import Use
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest, NotFound
from router.identity.keys import LIVE, TEST, new_key
from router.tables import Json, KeyRow
from store.ids import AccountId, KeyId, ModelId, new_id, wire

OVERLAP_MAX = timedelta(hours=72)
KEYS = KeyRow.__table__


class KeySpec(msgspec.Struct, frozen=True):
    """What may be set on a key, now and later. ``models`` empty means every model."""

    name: str
    use: Use = Use.COMMERCIAL
    limits: Limits = Limits()
    cap: Cap | None = None
    models: tuple[ModelId, ...] = ()
    expires_at: datetime | None = None


class KeyView(msgspec.Struct, frozen=True):
    """A key as people see it: everything but its text, of which ``masked`` is the beginning and the end."""

    id: KeyId
    account_id: AccountId
    masked: str = msgspec.field(name="shown")
    spec: KeySpec
    is_test: bool
    paused: bool
    revoked_at: datetime | None
    created_at: datetime
    previous_until: datetime | None = None


class IssuedKey(msgspec.Struct, frozen=True):
    """A key with its text, which is shown this once."""

    text: str
    view: KeyView


async def create_key(work: UnitOfWork, account_id: AccountId, spec: KeySpec, *, is_test: bool = False) -> IssuedKey:
    """Create a key of an account. Raises ``NotFound`` for an unknown one, ``InvalidRequest`` for limits below one."""
    _validate(spec, work.now)
    fresh = new_key(is_test=is_test)
    key_id = KeyId(new_id())
    row = {
        "id": key_id,
        "account_id": account_id,
        "handle": fresh.handle,
        "last4": fresh.last4,
        "digest": fresh.digest,
        "is_test": is_test,
        "paused": False,
        **_columns(spec),
    }
    try:
        await work.connection.execute(insert(KeyRow), row)
    except IntegrityError as error:
        if violated_constraint(error) == "keys_account_id_fkey":
            raise NotFound("There is no such account.", param="account") from error
        raise
    view = await get_key(work.connection, key_id)
    work.record_change(Change("key.create", wire(KeyId, key_id), account_id, after=_audit_facts(view)))
    return IssuedKey(text=fresh.text, view=view)


async def change_key(work: UnitOfWork, key_id: KeyId, spec: KeySpec) -> KeyView:
    """Replace what may be set on a key. Raises ``NotFound``, ``Conflict`` for a revoked one."""
    before = await _lock(work, key_id)
    _validate(spec, work.now)
    return await _update(work, before, "key.change", _columns(spec))


async def pause_key(work: UnitOfWork, key_id: KeyId, *, paused: bool = True) -> KeyView:
    """Pause a key, or resume it. Raises ``NotFound``, ``Conflict`` for a revoked one."""
    before = await _lock(work, key_id)
    return await _update(work, before, "key.pause" if paused else "key.resume", {"paused": paused})


async def revoke_key(work: UnitOfWork, key_id: KeyId) -> KeyView:
    """End a key for good; every process refuses it within a second. Raises ``NotFound``, ``Conflict``."""
    before = await _lock(work, key_id)
    return await _update(work, before, "key.revoke", {"revoked_at": work.now})


async def rotate_key(work: UnitOfWork, key_id: KeyId, overlap: timedelta = timedelta(hours=24)) -> IssuedKey:
    """Give a key a new secret; the old one works for ``overlap`` more. Usage stays with the key's id.

    A secret that is still in its overlap from an earlier rotation ends now. Raises ``NotFound``, ``Conflict``,
    ``InvalidRequest``.
    """
    if not timedelta() <= overlap <= OVERLAP_MAX:
        raise InvalidRequest("The overlap is between 0 and 72 hours.", param="overlap")
    before = await _lock(work, key_id)
    query = select(KeyRow.handle, KeyRow.digest).where(KeyRow.id == key_id)
    old = (await work.connection.execute(query)).one()
    fresh = new_key(is_test=before.is_test, handle=old.handle)
    has_overlap = overlap > timedelta()
    columns = {
        "digest": fresh.digest,
        "last4": fresh.last4,
        "previous_digest": old.digest if has_overlap else None,
        "previous_until": work.now + overlap if has_overlap else None,
    }
    return IssuedKey(text=fresh.text, view=await _update(work, before, "key.rotate", columns))


async def get_key(connection: AsyncConnection, key_id: KeyId, *, locked: bool = False) -> KeyView:
    """Read one key, and lock its row where ``locked``. Raises ``NotFound``."""
    query = select(KEYS).where(KeyRow.id == key_id)
    row = (await connection.execute(query.with_for_update() if locked else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no key {wire(KeyId, key_id)}.", param="key")
    return _view(row)


async def keys_named(connection: AsyncConnection, name: str) -> list[KeyView]:
    """The keys of that name, of every account, the newest first, revoked ones too."""
    query = select(KEYS).where(KeyRow.name == name).order_by(KeyRow.id.desc())
    return [_view(row) for row in await connection.execute(query)]


async def key_names(connection: AsyncConnection, among: Collection[KeyId]) -> dict[KeyId, str]:
    """The names of some keys."""
    rows = await connection.execute(
        text("SELECT id, name FROM keys WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(among)}
    )
    return {KeyId(row.id): row.name for row in rows}


async def list_keys(
    connection: AsyncConnection,
    account_id: AccountId | None = None,
    *,
    before: KeyId | None = None,
    limit: int | None = None,
) -> list[KeyView]:
    """List the keys of an account, or all, the newest first, revoked ones too; ``before`` one and at most ``limit``."""
    query = select(KEYS).order_by(KeyRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(KeyRow.id < before)
    if account_id is not None:
        query = query.where(KeyRow.account_id == account_id)
    return [_view(row) for row in await connection.execute(query)]


async def _lock(work: UnitOfWork, key_id: KeyId) -> KeyView:
    view = await get_key(work.connection, key_id, locked=True)
    if view.revoked_at is not None:
        raise Conflict(f"{wire(KeyId, key_id)} was revoked at {view.revoked_at:%Y-%m-%d %H:%M} UTC, which is final.")
    return view


async def _update(work: UnitOfWork, before: KeyView, action: str, columns: dict[str, object]) -> KeyView:
    await work.connection.execute(update(KeyRow).where(KeyRow.id == before.id).values(**columns))
    after = await get_key(work.connection, before.id)
    subject = wire(KeyId, before.id)
    work.record_change(Change(action, subject, before.account_id, _audit_facts(before), _audit_facts(after)))
    return after


def _validate(spec: KeySpec, now: datetime) -> None:
    if not 1 <= len(spec.name) <= 200:
        raise InvalidRequest("A key has a name of 1 to 200 characters.", param="name")
    limits = (spec.limits.requests_per_minute, spec.limits.tokens_per_minute, spec.limits.concurrency)
    if min(limits) < 1 or max(limits) > 2**31 - 1:
        raise InvalidRequest("A limit is between 1 and 2147483647; to stop a key, pause it.", param="limits")
    if spec.expires_at is not None and spec.expires_at <= now:
        raise InvalidRequest("The key would be expired already.", param="expires_at")
    if spec.cap is not None and not 0 <= spec.cap.amount <= MAX_AMOUNT:
        raise InvalidRequest(f"A cap is between 0.00 and {to_usd(MAX_AMOUNT)} USD.", param="cap")


def _columns(spec: KeySpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "use": spec.use.value,
        "models": list(spec.models),
        "requests_per_minute": spec.limits.requests_per_minute,
        "tokens_per_minute": spec.limits.tokens_per_minute,
        "concurrency": spec.limits.concurrency,
        "cap_nano": spec.cap.amount if spec.cap else None,
        "cap_period": spec.cap.period.value if spec.cap else None,
        "expires_at": spec.expires_at,
    }


def _view(row: Row[Any]) -> KeyView:
    spec = KeySpec(
        name=row.name,
        use=Use(row.use),
        limits=Limits(row.requests_per_minute, row.tokens_per_minute, row.concurrency),
        cap=None if row.cap_nano is None else Cap(NanoUSD(row.cap_nano), CapPeriod(row.cap_period)),
        models=tuple(ModelId(model) for model in row.models),
        expires_at=row.expires_at,
    )
    return KeyView(
        id=KeyId(row.id),
        account_id=AccountId(row.account_id),
        masked=f"{TEST if row.is_test else LIVE}{row.handle[:4]}…{row.last4}",
        spec=spec,
        is_test=row.is_test,
        paused=row.paused,
        revoked_at=row.revoked_at,
        created_at=row.created_at,
        previous_until=row.previous_until,
    )


def _audit_facts(view: KeyView) -> Json:
    facts: Json = msgspec.to_builtins(view)
    return {name: value for name, value in facts.items() if name not in ("id", "account_id", "created_at")}
