"""Forms of API keys, for operators and customers alike, and their way to :mod:`router.identity.key_commands`."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from billing.cap_rules import CapUse, ordered
from billing.caps import read_key_caps
from billing.values import Cap, Limits
from catalog.values import Use
from router.api.admin.references import Lookups, model_of
from router.api.cap_forms import VOLATILE, CapForm, CapOut, cap_of, cap_out
from router.api.fields import AccountIdText, Instant, KeyIdText, Limit, Usd, text_of
from router.api.forms import Answer, Body, Form, Patch, Resource, answer_of
from router.api.network_form import NETWORKS, NetworkText
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.identity.key_commands import IssuedKey
from router.identity.key_views import KeySpec, KeyView
from store.postgres import now_of

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
    expires_at: Instant | None = Field(
        None, description="When it stops; null: never, or at the end of the longest life that the account allows."
    )
    networks: tuple[NetworkText, ...] = Field((), description=NETWORKS)


class KeyEdit(KeyFacts, Patch):
    """What is given is changed; null takes the cap or the expiry away, an empty list of caps takes all away.

    An empty list of models or of networks allows every one.
    """


class OldSecret(Answer):
    """A secret that a rotation replaced and that works on."""

    works_until: Instant


class LastUse(Answer):
    """When a key was used last, at most a minute late, and from where; null where that is not known."""

    at: Instant
    network: str | None = Field(description="The network, without the rest of the address: 203.0.113.0/24.")
    client: str | None = Field(description="The product that the user agent names first.")


class KeyOut(KeyFacts, Resource):
    """A key."""

    once: ClassVar[frozenset[str]] = frozenset({"key"})
    volatile: ClassVar[frozenset[str]] = frozenset(
        {"old_secrets", "exceeds_max_life", "cap_spent_usd", "cap_left_usd", "cap_resets_at", "last_use"}
    )
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
    last_use: LastUse | None = Field(description="Null: never used.")
    exceeds_max_life: bool = Field(
        description="It works for longer than the account lets a new key work: edit its expiry, or rotate it."
    )
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


class Rotation(Body):
    """How to rotate."""

    overlap_hours: int = Field(24, description="How long the old secret works on, 0 to 72 hours.")

    @property
    def overlap(self) -> timedelta:
        """The overlap; out of bounds the rule refuses it, and a number of any size is not too large for that."""
        return timedelta(hours=max(-1, min(self.overlap_hours, 1_000)))


async def spec_of(connection: AsyncConnection, before: KeySpec, given: dict[str, Any], lookups: Lookups) -> KeySpec:
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


async def shown(work: UnitOfWork, issued: IssuedKey) -> KeyOut:
    """A key as it is answered this once, with its text."""
    return (await key_out(work.connection, issued.view)).model_copy(update={"key": issued.text})


async def key_out(connection: AsyncConnection, view: KeyView) -> KeyOut:
    """A key as it is answered."""
    return (await keys_out(connection, [view]))[0]


async def keys_out(connection: AsyncConnection, views: Sequence[KeyView]) -> list[KeyOut]:
    """Keys as they are answered, with what is left of their caps and when they were used last."""
    use = await read_key_caps(connection, {view.id: view.spec.caps for view in views}, await now_of(connection))
    return [_answer(view, use[view.id]) for view in views]


def _answer(view: KeyView, caps: Sequence[CapUse]) -> KeyOut:
    spec, first, last_use = view.spec, next(iter(caps), None), view.last_use
    return answer_of(
        KeyOut,
        view,
        **{
            name: getattr(spec, name) for name in ("name", "use", "models", "allow_token_ids", "expires_at", "networks")
        },
        **msgspec.structs.asdict(spec.limits),
        account=view.account_id,
        shown_as=view.masked,
        state=view.state,
        cap=None if first is None else CapForm(amount_usd=first.cap.amount, period=first.cap.period),
        caps=tuple(cap_out(use) for use in caps),
        old_secret_works_until=view.previous_until,
        old_secrets=tuple(OldSecret(works_until=ends) for ends in view.old_secrets),
        last_use=None
        if last_use is None
        else LastUse(at=last_use.at, network=last_use.network, client=last_use.client),
        cap_spent_usd=None if first is None else first.spent,
        cap_left_usd=None if first is None else first.left,
        cap_resets_at=None if first is None else first.resets_at,
    )
