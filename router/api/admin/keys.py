"""``/admin/v1/keys``: accounts' API keys. A key is in the answer to its making or rotation, and nowhere else.

Who lost that answer repeats the request with its Idempotency-Key and gets the same key again: for 24 hours, and after a
rotation for as long as the old secret works.
"""

from typing import Annotated

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.key_forms import KeyEdit, KeyFacts, KeyOut, Rotation, key_out, keys_out, shown, spec_of
from router.api.admin.references import Lookups, account_of
from router.api.admin.request import Command, Edit, Read, Write
from router.api.fields import AccountRef, KeyIdText
from router.api.forms import Body, Page, PageQuery, Reason
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.identity.key_commands import change_key, create_key, end_old_secrets, pause_key, revoke_key, rotate_key
from router.identity.key_views import KeySpec, get_key, list_keys
from store.ids import KeyId, wire

operations = Operations("keys", f"{V1}/keys")
ONE = "/{key_id}"


class KeyCreate(KeyFacts, Body):
    """A new key of an account."""

    account: AccountRef = Field(description="Whose key it is, by id or name.")
    is_test: bool = Field(False, description="gr_test_…: free, made-up vectors.")


class KeyQuery(PageQuery):
    """Which keys."""

    account: AccountRef | None = Field(None, description="Those of this account, by id or name.")


@operations.get("", verb="list", summary="List keys", roles=ALL)
async def list_(admin: Read, query: Annotated[KeyQuery, Query()]) -> Page[KeyOut]:
    """The keys of an account, or all, the newest first, revoked ones too."""
    after = query.after_id(KeyId)
    before = None if after is None else KeyId(after)

    async def ask(connection: AsyncConnection) -> list[KeyOut]:
        account = None if query.account is None else (await account_of(connection, query.account)).id
        return await keys_out(connection, await list_keys(connection, account, before=before, limit=query.limit + 1))

    return admin.page(query, await admin.read(ask), lambda row: wire(KeyId, row.id))


@operations.post("", verb="create", summary="Create a key", roles=OPS, status=201, shows_once=True)
async def create(admin: Write, body: KeyCreate) -> KeyOut:
    """Create a key of an account. It is shown this once, and again to the same request with its Idempotency-Key."""

    async def command(work: UnitOfWork) -> KeyOut:
        lookups = Lookups()
        account = await lookups.find(account_of(work.connection, body.account))
        facts = {name: value for name, value in body.given().items() if name in KeyFacts.model_fields}
        spec = await spec_of(work.connection, KeySpec(body.name), facts, lookups)
        assert account is not None, "a fault of a look-up is raised with the others; this is a bug"
        return await shown(work, await create_key(work, account.id, spec, is_test=body.is_test))

    return await admin.change(command)


@operations.get(ONE, verb="show", summary="Retrieve a key", roles=ALL)
async def retrieve(admin: Read, key_id: KeyIdText) -> KeyOut:
    """One key, without the key."""

    async def ask(connection: AsyncConnection) -> KeyOut:
        return await key_out(connection, await get_key(connection, key_id))

    return await admin.read(ask)


class ExplainedEdit(KeyEdit):
    """What is given is changed; null takes the cap or the expiry away, an empty list of caps takes all away.

    An empty list of models or of networks allows every one.
    """

    reason: str = Field("", description="Why, for whoever looks next.")


@operations.patch(ONE, verb="edit", summary="Edit a key", roles=OPS)
async def edit(admin: Edit, key_id: KeyIdText, body: ExplainedEdit) -> KeyOut:
    """Change what is given: limits, cap, models, use, name, expiry."""

    async def command(work: UnitOfWork) -> KeyOut:
        before = (await get_key(work.connection, key_id, locked=True)).spec
        given = body.given()
        sets_expiry, reason = "expires_at" in given, given.pop("reason", "")
        spec = await spec_of(work.connection, before, given, Lookups())
        return await key_out(
            work.connection, await change_key(work, key_id, spec, sets_expiry=sets_expiry, reason=reason)
        )

    return await _change(admin, key_id, command)


@operations.post(f"{ONE}/pause", verb="pause", summary="Pause a key", roles=OPS)
async def pause(admin: Write, key_id: KeyIdText, body: Reason) -> KeyOut:
    """It stops within a second, until it is resumed."""

    async def command(work: UnitOfWork) -> KeyOut:
        return await key_out(work.connection, await pause_key(work, key_id, reason=body.reason))

    return await _change(admin, key_id, command)


@operations.post(f"{ONE}/resume", verb="resume", summary="Resume a key", roles=OPS)
async def resume(admin: Write, key_id: KeyIdText, body: Reason) -> KeyOut:
    """It works again."""

    async def command(work: UnitOfWork) -> KeyOut:
        return await key_out(work.connection, await pause_key(work, key_id, paused=False, reason=body.reason))

    return await _change(admin, key_id, command)


@operations.post(f"{ONE}/rotate", verb="rotate", summary="Rotate a key", roles=OPS, shows_once=True)
async def rotate(admin: Write, key_id: KeyIdText, body: Rotation) -> KeyOut:
    """A new secret for the same key; limits and usage stay with the key.

    It is shown this once, and again to the same request with its Idempotency-Key. Secrets that an earlier rotation has
    replaced work on until the instant that its answer named.
    """

    async def command(work: UnitOfWork) -> KeyOut:
        return await shown(work, await rotate_key(work, key_id, body.overlap))

    return await _change(admin, key_id, command)


@operations.post(f"{ONE}/end-old-secrets", verb="end-old-secrets", summary="End a key's old secrets", roles=OPS)
async def end_old(admin: Write, key_id: KeyIdText) -> KeyOut:
    """End all secrets of a key but the latest, everywhere within a second: for one that leaked in its overlap."""

    async def command(work: UnitOfWork) -> KeyOut:
        return await key_out(work.connection, await end_old_secrets(work, key_id))

    return await _change(admin, key_id, command)


@operations.post(f"{ONE}/revoke", verb="revoke", summary="Revoke a key", roles=OPS)
async def revoke(admin: Write, key_id: KeyIdText, body: Reason) -> KeyOut:
    """End a key for good, everywhere within a second."""

    async def command(work: UnitOfWork) -> KeyOut:
        return await key_out(work.connection, await revoke_key(work, key_id, reason=body.reason))

    return await _change(admin, key_id, command)


async def _change(admin: Write, key_id: KeyId, command: Command[KeyOut]) -> KeyOut:
    async def current(work: UnitOfWork) -> KeyOut:
        return await key_out(work.connection, await get_key(work.connection, key_id, locked=True))

    return await admin.change(command, current=current)
