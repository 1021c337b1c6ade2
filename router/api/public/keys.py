"""``/v1/keys``: an account's API keys, by its members and management keys; through what ``/admin/v1/keys`` runs.

A key is in the answer to its making or rotation, and nowhere else. Who lost that answer repeats the request with its
Idempotency-Key and gets the same key again.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.values import Limits
from router.api.admin.key_forms import KeyEdit, KeyFacts, KeyOut, Rotation, key_out, keys_out, shown, spec_of
from router.api.admin.references import Lookups
from router.api.fields import KeyIdText
from router.api.forms import Body, Page, PageQuery
from router.api.operation import Operations, Who
from router.api.public.account_request import AccountEdit, AccountRead, AccountWrite
from router.changes.transaction import UnitOfWork
from router.identity.key_commands import change_key, create_key, end_old_secrets, pause_key, revoke_key, rotate_key
from router.identity.key_views import KeySpec, KeyView, list_keys
from router.identity.own_keys import get_own_key, require_few_key_changes, require_limits, require_room_for_key
from router.identity.scopes import Scope
from store.ids import KeyId, wire

operations = Operations("keys", "/v1/keys", who=Who.MANAGER)
ONE = "/{key_id}"

# Changes a key whose row is locked.
Change: TypeAlias = Callable[[UnitOfWork, KeyView], Awaitable[KeyOut]]


class OwnKeyCreate(KeyFacts, Body):
    """A new key. Limits are at most the usual ones; our operators raise them."""

    is_test: bool = Field(False, description="gr_test_…: free, made-up vectors.")


class OwnKeyEdit(KeyEdit):
    """What is given is changed; null takes the cap or the expiry away, an empty list of models allows every one.

    Limits are at most the usual ones, or those that the key has.
    """


@operations.get("", verb="list", name="list_own_keys", summary="List keys", scope=Scope.KEYS_READ)
async def list_(request: AccountRead, query: Annotated[PageQuery, Query()]) -> Page[KeyOut]:
    """The account's keys, the newest first, revoked ones too, with what is left of their caps and their last use."""
    after = query.after_id(KeyId)
    before = None if after is None else KeyId(after)

    async def ask(connection: AsyncConnection) -> list[KeyOut]:
        found = await list_keys(connection, request.account_id, before=before, limit=query.limit + 1)
        return await keys_out(connection, found)

    return request.page(query, await request.read(ask), lambda row: wire(KeyId, row.id))


@operations.post(
    "",
    verb="create",
    name="create_own_key",
    summary="Create a key",
    scope=Scope.KEYS_WRITE,
    status=201,
    shows_once=True,
)
async def create(request: AccountWrite, body: OwnKeyCreate) -> KeyOut:
    """Create a key. It is shown this once, and again to the same request with its Idempotency-Key."""

    async def command(work: UnitOfWork) -> KeyOut:
        await require_room_for_key(work, request.account_id)
        await require_few_key_changes(work, request.account_id)
        facts = {name: value for name, value in body.given().items() if name in KeyFacts.model_fields}
        spec = await spec_of(work.connection, KeySpec(body.name), facts, Lookups())
        require_limits(spec, Limits())
        return await shown(work, await create_key(work, request.account_id, spec, is_test=body.is_test))

    return await request.change(command)


@operations.get(ONE, verb="show", name="retrieve_own_key", summary="Retrieve a key", scope=Scope.KEYS_READ)
async def retrieve(request: AccountRead, key_id: KeyIdText) -> KeyOut:
    """One key, without the key."""

    async def ask(connection: AsyncConnection) -> KeyOut:
        return await key_out(connection, await get_own_key(connection, request.account_id, key_id))

    return await request.read(ask)


@operations.patch(ONE, verb="edit", name="edit_own_key", summary="Edit a key", scope=Scope.KEYS_WRITE)
async def edit(request: AccountEdit, key_id: KeyIdText, body: OwnKeyEdit) -> KeyOut:
    """Change what is given: name, use, models, caps, expiry, limits."""

    async def change(work: UnitOfWork, before: KeyView) -> KeyOut:
        spec = await spec_of(work.connection, before.spec, body.given(), Lookups())
        require_limits(spec, before.spec.limits)
        return await key_out(
            work.connection, await change_key(work, key_id, spec, sets_expiry="expires_at" in body.given())
        )

    return await _change(request, key_id, change)


@operations.post(f"{ONE}/pause", verb="pause", name="pause_own_key", summary="Pause a key", scope=Scope.KEYS_WRITE)
async def pause(request: AccountWrite, key_id: KeyIdText) -> KeyOut:
    """It stops within a second, until it is resumed."""

    async def change(work: UnitOfWork, before: KeyView) -> KeyOut:
        return await key_out(work.connection, await pause_key(work, before.id))

    return await _change(request, key_id, change)


@operations.post(f"{ONE}/resume", verb="resume", name="resume_own_key", summary="Resume a key", scope=Scope.KEYS_WRITE)
async def resume(request: AccountWrite, key_id: KeyIdText) -> KeyOut:
    """It works again."""

    async def change(work: UnitOfWork, before: KeyView) -> KeyOut:
        return await key_out(work.connection, await pause_key(work, before.id, paused=False))

    return await _change(request, key_id, change)


@operations.post(
    f"{ONE}/rotate",
    verb="rotate",
    name="rotate_own_key",
    summary="Rotate a key",
    scope=Scope.KEYS_WRITE,
    shows_once=True,
)
async def rotate(request: AccountWrite, key_id: KeyIdText, body: Rotation) -> KeyOut:
    """A new secret for the same key; limits and usage stay with the key, and the old secret works on for the overlap.

    It is shown this once, and again to the same request with its Idempotency-Key.
    """

    async def change(work: UnitOfWork, before: KeyView) -> KeyOut:
        return await shown(work, await rotate_key(work, before.id, body.overlap))

    return await _change(request, key_id, change)


@operations.post(
    f"{ONE}/end-old-secrets",
    verb="end-old-secrets",
    name="end_old_secrets_of_own_key",
    summary="End a key's old secrets",
    scope=Scope.KEYS_WRITE,
)
async def end_old(request: AccountWrite, key_id: KeyIdText) -> KeyOut:
    """End all secrets of a key but the latest, everywhere within a second: for one that leaked in its overlap."""

    async def change(work: UnitOfWork, before: KeyView) -> KeyOut:
        return await key_out(work.connection, await end_old_secrets(work, before.id))

    return await _change(request, key_id, change)


@operations.post(f"{ONE}/revoke", verb="revoke", name="revoke_own_key", summary="Revoke a key", scope=Scope.KEYS_WRITE)
async def revoke(request: AccountWrite, key_id: KeyIdText) -> KeyOut:
    """End a key for good, everywhere within a second."""

    async def change(work: UnitOfWork, before: KeyView) -> KeyOut:
        return await key_out(work.connection, await revoke_key(work, before.id))

    return await _change(request, key_id, change)


async def _change(request: AccountWrite, key_id: KeyId, change: Change) -> KeyOut:
    """Change a key of the account, which is found and locked first."""

    async def command(work: UnitOfWork) -> KeyOut:
        await require_few_key_changes(work, request.account_id)
        return await change(work, await get_own_key(work.connection, request.account_id, key_id, locked=True))

    async def current(work: UnitOfWork) -> KeyOut:
        view = await get_own_key(work.connection, request.account_id, key_id, locked=True)
        return await key_out(work.connection, view)

    return await request.change(command, current=current)
