"""``/admin/v1/keys``: accounts' API keys. A key is in one answer, of its making or rotation, and nowhere else.

It is not kept with the outcome under an Idempotency-Key either: a replay has ``key`` null. Who lost the first answer
rotates.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import UNSET, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.values import Cap, CapPeriod, Limits
from catalog import models
from catalog.values import Use
from router.api.admin.bodies import Nothing
from router.api.admin.mutation import Current, Made, change
from router.api.admin.operation import acts, edits, lists, makes, shows
from router.api.admin.parsing import (
    V1,
    Instant,
    body_of,
    given_id,
    given_in,
    id_of,
    query_of,
    read,
    rfc3339,
    usd_of,
    utc,
)
from router.api.admin.responses import Resource, one, page, slice_of
from router.changes.transaction import UnitOfWork
from router.identity.key_commands import (
    IssuedKey,
    KeySpec,
    KeyView,
    change_key,
    create_key,
    get_key,
    list_keys,
    pause_key,
    revoke_key,
    rotate_key,
)
from store.ids import AccountId, KeyId, ModelId, wire

operations = APIRouter()
PATH = f"{V1}/keys"
TAG = "Keys"
DEFAULT = Limits()
_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrency")


class CapForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most that a key may spend per period, in USD."""

    amount_usd: str
    period: CapPeriod = CapPeriod.MONTH


class KeyOut(Resource, frozen=True):
    """A key. ``key`` is the key itself, in the answer to its making and rotation alone; ``models`` empty: every one."""

    volatile = frozenset({"key"})

    id: str
    account: str
    name: str
    shown_as: str
    state: str
    use: str
    is_test: bool
    models: list[str]
    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int
    cap: CapForm | None
    expires_at: str | None
    created_at: str | None
    revoked_at: str | None
    old_secret_works_until: str | None
    key: str | None = None
    object: str = "key"


class KeyCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``use`` is what the answers are used for; licenses depend on it. ``is_test``: free, made-up vectors."""

    account: str
    name: str = "default"
    use: Use = Use.COMMERCIAL
    is_test: bool = False
    models: list[str] = []
    requests_per_minute: int = DEFAULT.requests_per_minute
    tokens_per_minute: int = DEFAULT.tokens_per_minute
    concurrency: int = DEFAULT.concurrency
    cap: CapForm | None = None
    expires_at: Instant | None = None


class KeyEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is given is changed; null takes the cap or the expiry away, an empty list of models allows every one."""

    name: str | UnsetType = UNSET
    use: Use | UnsetType = UNSET
    models: list[str] | UnsetType = UNSET
    requests_per_minute: int | UnsetType = UNSET
    tokens_per_minute: int | UnsetType = UNSET
    concurrency: int | UnsetType = UNSET
    cap: CapForm | UnsetType | None = UNSET
    expires_at: Instant | UnsetType | None = UNSET


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the old secret works on, 0 to 72 hours."""

    overlap_hours: int = 24


@operations.get(PATH, **lists("list_keys", "List keys", TAG, KeyOut, "account"))
async def list_(request: Request) -> Response:
    """The keys of an account, or all, the newest first, revoked ones too."""
    query = query_of(request, "limit", "cursor", "account")
    part = slice_of(query)
    account = AccountId(given_id(AccountId, query["account"], "account")) if "account" in query else None
    before = None if part.after is None else KeyId(given_id(KeyId, part.after, "cursor"))
    found = await read(request, lambda connection: list_keys(connection, account, before=before, limit=part.limit + 1))
    return page(request, found, part, lambda view: wire(KeyId, view.id), _out)


@operations.post(PATH, **makes("create_key", "Create a key", TAG, KeyOut, KeyCreate))
async def create(request: Request) -> Response:
    """Create a key of an account. The key is shown this once."""
    body = body_of(request, KeyCreate)
    account = AccountId(given_id(AccountId, body.account, "account"))
    limits = Limits(body.requests_per_minute, body.tokens_per_minute, body.concurrency)

    async def command(work: UnitOfWork) -> Made:
        allowed = await _models(work.connection, body.models)
        spec = KeySpec(body.name, body.use, limits, _cap(body.cap), allowed, utc(body.expires_at))
        shown = await create_key(work, account, spec, is_test=body.is_test)
        return _made(shown, 201)

    return await change(request, command)


@operations.get(f"{PATH}/{{key_id}}", **shows("retrieve_key", "Retrieve a key", TAG, KeyOut))
async def retrieve(request: Request, key_id: str) -> Response:
    """One key, without the key."""
    query_of(request)
    known = _id(key_id)
    return one(_out(await read(request, lambda connection: get_key(connection, known))))


@operations.patch(f"{PATH}/{{key_id}}", **edits("edit_key", "Edit a key", TAG, KeyOut, KeyEdit))
async def edit(request: Request, key_id: str) -> Response:
    """Change what is given: limits, cap, models, use, name, expiry."""
    known, given = _id(key_id), given_in(body_of(request, KeyEdit))

    async def command(work: UnitOfWork) -> Made:
        spec = (await get_key(work.connection, known, locked=True)).spec
        limits = {name: given[name] for name in _LIMITS if name in given}
        rest: dict[str, Any] = {name: given[name] for name in ("name", "use") if name in given}
        if limits:
            rest["limits"] = msgspec.structs.replace(spec.limits, **limits)
        if "cap" in given:
            rest["cap"] = _cap(given["cap"])
        if "models" in given:
            rest["models"] = await _models(work.connection, given["models"])
        if "expires_at" in given:
            rest["expires_at"] = utc(given["expires_at"])
        return Made(_out(await change_key(work, known, msgspec.structs.replace(spec, **rest))))

    return await change(request, command, current=_current(known), needs_match=True)


@operations.post(f"{PATH}/{{key_id}}/pause", **acts("pause_key", "Pause a key", TAG, KeyOut, Nothing))
async def pause(request: Request, key_id: str) -> Response:
    """It stops within a second, until it is resumed."""
    return await _set_paused(request, _id(key_id), paused=True)


@operations.post(f"{PATH}/{{key_id}}/resume", **acts("resume_key", "Resume a key", TAG, KeyOut, Nothing))
async def resume(request: Request, key_id: str) -> Response:
    """It works again."""
    return await _set_paused(request, _id(key_id), paused=False)


@operations.post(f"{PATH}/{{key_id}}/rotate", **acts("rotate_key", "Rotate a key", TAG, KeyOut, Rotation))
async def rotate(request: Request, key_id: str) -> Response:
    """A new secret for the same key, shown this once; limits and usage stay with the key."""
    known, body = _id(key_id), body_of(request, Rotation)
    # Out of bounds it is refused by the rule, and a number of any size is not too large for that.
    overlap = timedelta(hours=max(-1, min(body.overlap_hours, 1_000)))

    async def command(work: UnitOfWork) -> Made:
        return _made(await rotate_key(work, known, overlap))

    return await change(request, command, current=_current(known))


@operations.post(f"{PATH}/{{key_id}}/revoke", **acts("revoke_key", "Revoke a key", TAG, KeyOut, Nothing))
async def revoke(request: Request, key_id: str) -> Response:
    """End a key for good, everywhere within a second."""
    known = _id(key_id)
    body_of(request, Nothing)

    async def command(work: UnitOfWork) -> Made:
        return Made(_out(await revoke_key(work, known)))

    return await change(request, command, current=_current(known))


async def _set_paused(request: Request, known: KeyId, *, paused: bool) -> Response:
    body_of(request, Nothing)

    async def command(work: UnitOfWork) -> Made:
        return Made(_out(await pause_key(work, known, paused=paused)))

    return await change(request, command, current=_current(known))


async def _models(connection: AsyncConnection, names: list[str]) -> tuple[ModelId, ...]:
    """Only what is in the catalogue. Raises ``ModelUnknown``."""
    return tuple([(await models.get(connection, name)).id for name in dict.fromkeys(names)])


def _cap(form: CapForm | None) -> Cap | None:
    return None if form is None else Cap(usd_of(form.amount_usd, "cap.amount_usd"), form.period)


def _current(known: KeyId) -> Current:
    async def current(work: UnitOfWork) -> KeyOut:
        return _out(await get_key(work.connection, known, locked=True))

    return current


def _id(text: str) -> KeyId:
    return KeyId(id_of(KeyId, text, "key"))


def _made(shown: IssuedKey, status: int = 200) -> Made:
    view = _out(shown.view)
    location = f"{PATH}/{view.id}" if status == 201 else ""
    return Made(msgspec.structs.replace(view, key=shown.text), status, location, kept=view)


def _out(view: KeyView) -> KeyOut:
    spec = view.spec
    return KeyOut(
        id=wire(KeyId, view.id),
        account=wire(AccountId, view.account_id),
        name=spec.name,
        shown_as=view.masked,
        state=_state(view.revoked_at, paused=view.paused),
        use=spec.use.value,
        is_test=view.is_test,
        models=list(spec.models),
        requests_per_minute=spec.limits.requests_per_minute,
        tokens_per_minute=spec.limits.tokens_per_minute,
        concurrency=spec.limits.concurrency,
        cap=None if spec.cap is None else CapForm(to_usd(spec.cap.amount), spec.cap.period),
        expires_at=rfc3339(spec.expires_at),
        created_at=rfc3339(view.created_at),
        revoked_at=rfc3339(view.revoked_at),
        old_secret_works_until=rfc3339(view.previous_until),
    )


def _state(revoked_at: datetime | None, *, paused: bool) -> str:
    if revoked_at is not None:
        return "revoked"
    return "paused" if paused else "active"
