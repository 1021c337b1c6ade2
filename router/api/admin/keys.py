"""``/admin/v1/keys``: accounts' API keys. A key is in the answer to its making or rotation, and nowhere else.

Who lost that answer repeats the request with its Idempotency-Key and gets the same key again: for 24 hours, and after a
rotation for as long as the old secret works.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from billing.cap_rules import CapUse, ordered
from billing.caps import read_key_caps
from billing.values import Cap, Limits
from catalog.values import Use
from router.api.admin.references import Lookups, account_of, model_of
from router.api.admin.request import Command, Edit, Read, Write
from router.api.cap_forms import VOLATILE, CapForm, CapOut, cap_of, cap_out
from router.api.fields import (
    AccountIdText,
    AccountRef,
    Instant,
    KeyIdText,
    Limit,
    Usd,
    text_of,
)
from router.api.forms import Answer, Body, Form, Page, PageQuery, Patch, Resource, answer_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.identity.key_commands import (
    IssuedKey,
    KeySpec,
    KeyView,
    change_key,
    create_key,
    end_old_secrets,
    get_key,
    list_keys,
    pause_key,
    revoke_key,
    rotate_key,
)
from store.ids import KeyId, wire
from store.postgres import now_of

operations = Operations("keys", f"{V1}/keys")
ONE = "/{key_id}"
DEFAULT = Limits()
# Stands for a cap of which an edit says nothing.
_ABSENT: Any = object()


class KeyFacts(Form):
    """What may be set."""

    name: Annotated[str, text_of(200)] = Field("default", description="What it is for.")
    use: Use = Field(Use.COMMERCIAL, description="What the answers are used for; licenses depend on it.")
    models: tuple[str, ...] = Field((), description="Only these models, by id or alias; empty: every one.")
    allow_token_ids: bool = Field(
        False,
        description="Its token ids are those of the called model's own tokenizer. Without it ids are taken only by "
        "models with the tokenizer that OpenAI's clients encode with: others would give vectors of other texts.",
    )
    requests_per_minute: Limit = Field(DEFAULT.requests_per_minute, description="Requests per minute.")
    tokens_per_minute: Limit = Field(DEFAULT.tokens_per_minute, description="Tokens per minute.")
    concurrency: Limit = Field(DEFAULT.concurrency, description="Calls at once.")
    cap: CapForm | None = Field(
        None,
        description="The first of caps, in the order of total, month and day. Given alone it replaces that one and "
        "leaves the others; null takes that one away.",
    )
    caps: tuple[CapForm, ...] = Field(
        (), description="The most it may spend per period: at most one cap of each period. Given, it replaces them all."
    )
    expires_at: Instant | None = Field(None, description="When it stops; null: never.")


class KeyCreate(KeyFacts, Body):
    """A new key of an account."""

    account: AccountRef = Field(description="Whose key it is, by id or name.")
    is_test: bool = Field(False, description="gr_test_…: free, made-up vectors.")


class KeyEdit(KeyFacts, Patch):
    """What is given is changed; null takes the cap or the expiry away, an empty list of models allows every one.

    An empty list of caps takes all away.
    """


class OldSecret(Answer):
    """A secret that a rotation replaced and that works on."""

    works_until: Instant


class KeyOut(KeyFacts, Resource):
    """A key."""

    once: ClassVar[frozenset[str]] = frozenset({"key"})
    volatile: ClassVar[frozenset[str]] = frozenset({"old_secrets", "cap_spent_usd", "cap_left_usd", "cap_resets_at"})
    columns: ClassVar[tuple[str, ...]] = (
        *("id", "account", "name", "shown_as", "state", "expires_at", "cap_left_usd", "cap_resets_at"),
    )
    volatile_inside: ClassVar[Mapping[str, frozenset[str]]] = MappingProxyType({"caps": VOLATILE})

    id: KeyIdText
    account: AccountIdText
    shown_as: str
    state: Literal["active", "paused", "revoked"]
    is_test: bool
    created_at: Instant
    revoked_at: Instant | None
    old_secret_works_until: Instant | None = Field(
        description="When the secret ends that the latest rotation replaced; no later rotation changes that."
    )
    old_secrets: tuple[OldSecret, ...] = Field(description="Those that still work, the first to end first.")
    caps: tuple[CapOut, ...] = Field(description="Its caps, total first, then month, then day.")
    cap_spent_usd: Usd | None = Field(
        description="What calls of the cap's present period were charged; null without a cap. A call in flight counts "
        "from its charge on, which is before its answer."
    )
    cap_left_usd: Usd | None = Field(description="The cap less cap_spent_usd, never below 0.")
    cap_resets_at: Instant | None = Field(
        description="When the cap's next period begins, in UTC; null without a cap and for a total cap, which has none."
    )
    key: str | None = Field(
        None, description="The key itself, in the answer to its making and rotation and that answer's replays alone."
    )
    object: Literal["key"] = "key"

    @override
    def replays_until(self) -> datetime | None:
        """A rotation can be repeated for as long as the old secret works."""
        return self.old_secret_works_until


class KeyQuery(PageQuery):
    """Which keys."""

    account: AccountRef | None = Field(None, description="Those of this account, by id or name.")


class Rotation(Body):
    """How to rotate."""

    overlap_hours: int = Field(24, description="How long the old secret works on, 0 to 72 hours.")


@operations.get("", verb="list", summary="List keys", roles=ALL)
async def list_(admin: Read, query: Annotated[KeyQuery, Query()]) -> Page[KeyOut]:
    """The keys of an account, or all, the newest first, revoked ones too."""
    after = query.after_id(KeyId)
    before = None if after is None else KeyId(after)

    async def ask(connection: AsyncConnection) -> list[KeyOut]:
        account = None if query.account is None else (await account_of(connection, query.account)).id
        return await _all_out(connection, await list_keys(connection, account, before=before, limit=query.limit + 1))

    return admin.page(query, await admin.read(ask), lambda row: wire(KeyId, row.id))


@operations.post("", verb="create", summary="Create a key", roles=OPS, status=201, shows_once=True)
async def create(admin: Write, body: KeyCreate) -> KeyOut:
    """Create a key of an account. It is shown this once, and again to the same request with its Idempotency-Key."""

    async def command(work: UnitOfWork) -> KeyOut:
        lookups = Lookups()
        account = await lookups.find(account_of(work.connection, body.account))
        facts = {name: value for name, value in body.given().items() if name in KeyFacts.model_fields}
        spec = await _spec(work.connection, KeySpec(body.name), facts, lookups)
        assert account is not None, "a fault of a look-up is raised with the others; this is a bug"
        return await _shown(work, await create_key(work, account.id, spec, is_test=body.is_test))

    return await admin.change(command)


@operations.get(ONE, verb="show", summary="Retrieve a key", roles=ALL)
async def retrieve(admin: Read, key_id: KeyIdText) -> KeyOut:
    """One key, without the key."""

    async def ask(connection: AsyncConnection) -> KeyOut:
        return await _out(connection, await get_key(connection, key_id))

    return await admin.read(ask)


@operations.patch(ONE, verb="edit", summary="Edit a key", roles=OPS)
async def edit(admin: Edit, key_id: KeyIdText, body: KeyEdit) -> KeyOut:
    """Change what is given: limits, cap, models, use, name, expiry."""

    async def command(work: UnitOfWork) -> KeyOut:
        before = (await get_key(work.connection, key_id, locked=True)).spec
        spec = await _spec(work.connection, before, body.given(), Lookups())
        return await _out(work.connection, await change_key(work, key_id, spec))

    return await _change(admin, key_id, command)


@operations.post(f"{ONE}/pause", verb="pause", summary="Pause a key", roles=OPS)
async def pause(admin: Write, key_id: KeyIdText) -> KeyOut:
    """It stops within a second, until it is resumed."""

    async def command(work: UnitOfWork) -> KeyOut:
        return await _out(work.connection, await pause_key(work, key_id))

    return await _change(admin, key_id, command)


@operations.post(f"{ONE}/resume", verb="resume", summary="Resume a key", roles=OPS)
async def resume(admin: Write, key_id: KeyIdText) -> KeyOut:
    """It works again."""

    async def command(work: UnitOfWork) -> KeyOut:
        return await _out(work.connection, await pause_key(work, key_id, paused=False))

    return await _change(admin, key_id, command)


@operations.post(f"{ONE}/rotate", verb="rotate", summary="Rotate a key", roles=OPS, shows_once=True)
async def rotate(admin: Write, key_id: KeyIdText, body: Rotation) -> KeyOut:
    """A new secret for the same key; limits and usage stay with the key.

    It is shown this once, and again to the same request with its Idempotency-Key. Secrets that an earlier rotation has
    replaced work on until the instant that its answer named.
    """
    # Out of bounds it is refused by the rule, and a number of any size is not too large for that.
    overlap = timedelta(hours=max(-1, min(body.overlap_hours, 1_000)))

    async def command(work: UnitOfWork) -> KeyOut:
        return await _shown(work, await rotate_key(work, key_id, overlap))

    return await _change(admin, key_id, command)


@operations.post(f"{ONE}/end-old-secrets", verb="end-old-secrets", summary="End a key's old secrets", roles=OPS)
async def end_old(admin: Write, key_id: KeyIdText) -> KeyOut:
    """End all secrets of a key but the latest, everywhere within a second: for one that leaked in its overlap."""

    async def command(work: UnitOfWork) -> KeyOut:
        return await _out(work.connection, await end_old_secrets(work, key_id))

    return await _change(admin, key_id, command)


@operations.post(f"{ONE}/revoke", verb="revoke", summary="Revoke a key", roles=OPS)
async def revoke(admin: Write, key_id: KeyIdText) -> KeyOut:
    """End a key for good, everywhere within a second."""

    async def command(work: UnitOfWork) -> KeyOut:
        return await _out(work.connection, await revoke_key(work, key_id))

    return await _change(admin, key_id, command)


async def _change(admin: Write, key_id: KeyId, command: Command[KeyOut]) -> KeyOut:
    async def current(work: UnitOfWork) -> KeyOut:
        return await _out(work.connection, await get_key(work.connection, key_id, locked=True))

    return await admin.change(command, current=current)


async def _spec(connection: AsyncConnection, before: KeySpec, given: dict[str, Any], lookups: Lookups) -> KeySpec:
    """The spec with what is given. Raises what the look-ups do, for all that is not in the catalogue together."""
    limits = {name: given.pop(name) for name in Limits.__struct_fields__ if name in given}
    if limits:
        given["limits"] = msgspec.structs.replace(before.limits, **limits)
    given["caps"] = _caps(before.caps, given.pop("cap", _ABSENT), given.pop("caps", None))
    if "models" in given:
        names = list(dict.fromkeys(given["models"]))
        found = [await lookups.find(model_of(connection, name), f"models[{place}]") for place, name in enumerate(names)]
        given["models"] = tuple(dict.fromkeys(model.id for model in found if model is not None))
    lookups.refuse()
    return msgspec.structs.replace(before, **given)


def _caps(before: Sequence[Cap], first: CapForm | None, caps: Sequence[CapForm] | None) -> tuple[Cap, ...]:
    """The caps with what is given of them. Raises ``InvalidRequest`` where both ways of saying it are used."""
    if caps is not None:
        if first not in (None, _ABSENT):
            raise InvalidRequest("Give 'caps', or 'cap' for the first of them, not both.", param="cap")
        return ordered(cap_of(form) for form in caps)
    if first is _ABSENT:
        return tuple(before)
    others = before[1:]
    if first is None:
        return tuple(others)
    return ordered((cap_of(first), *(cap for cap in others if cap.period is not first.period)))


async def _shown(work: UnitOfWork, issued: IssuedKey) -> KeyOut:
    return (await _out(work.connection, issued.view)).model_copy(update={"key": issued.text})


async def _out(connection: AsyncConnection, view: KeyView) -> KeyOut:
    return (await _all_out(connection, [view]))[0]


async def _all_out(connection: AsyncConnection, views: Sequence[KeyView]) -> list[KeyOut]:
    use = await read_key_caps(connection, {view.id: view.spec.caps for view in views}, await now_of(connection))
    return [_answer(view, use[view.id]) for view in views]


def _answer(view: KeyView, caps: Sequence[CapUse]) -> KeyOut:
    spec, first = view.spec, next(iter(caps), None)
    state = "revoked" if view.revoked_at is not None else "paused" if view.paused else "active"
    return answer_of(
        KeyOut,
        view,
        **{name: getattr(spec, name) for name in ("name", "use", "models", "allow_token_ids", "expires_at")},
        **msgspec.structs.asdict(spec.limits),
        account=view.account_id,
        shown_as=view.masked,
        state=state,
        cap=None if first is None else CapForm(amount_usd=first.cap.amount, period=first.cap.period),
        caps=tuple(cap_out(use) for use in caps),
        old_secret_works_until=view.previous_until,
        old_secrets=tuple(OldSecret(works_until=ends) for ends in view.old_secrets),
        cap_spent_usd=None if first is None else first.spent,
        cap_left_usd=None if first is None else first.left,
        cap_resets_at=None if first is None else first.resets_at,
    )
