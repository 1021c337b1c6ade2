"""Forms of management keys, of the admin API and of the customers' alike."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from router.api.fields import AccountIdText, Instant, ManagementKeyIdText, text_of
from router.api.forms import Form, Patch, Resource, answer_of
from router.api.network_form import NETWORKS, NetworkText
from router.identity.management_keys import ManagementKeySpec, ManagementKeyView
from router.identity.scopes import Scope


class ManagementKeyFacts(Form):
    """What is set when it is made; of it only the networks change later."""

    name: Annotated[str, text_of(200)] = Field(description="Whose it is, or what for.")
    scopes: tuple[Scope, ...] = Field(
        description="What it may do: keys, usage, members or billing, each read or write; writing includes reading."
    )
    expires_at: Instant | None = Field(
        None, description="When it stops; null: never, or at the end of the longest life that the account allows."
    )
    networks: tuple[NetworkText, ...] = Field((), description=NETWORKS)


class ManagementKeyEdit(Patch):
    """Its networks are replaced; an empty list allows every one."""

    networks: tuple[NetworkText, ...] = Field((), description=NETWORKS)


class ManagementKeyOut(ManagementKeyFacts, Resource):
    """A management key."""

    once: ClassVar[frozenset[str]] = frozenset({"key"})
    volatile: ClassVar[frozenset[str]] = frozenset({"exceeds_max_life"})
    columns: ClassVar[tuple[str, ...]] = (*("id", "account", "name", "shown_as", "state", "scopes", "expires_at"),)

    id: ManagementKeyIdText
    account: AccountIdText
    shown_as: str
    state: Literal["active", "revoked"]
    created_by: str = Field(description="Who made it: a member, an operator, or cli:<user>.")
    created_at: Instant
    revoked_at: Instant | None
    exceeds_max_life: bool = Field(description="It works for longer than the account lets a new key work.")
    key: str | None = Field(None, description="The key itself, in the answer to its making and its replays alone.")
    object: Literal["management_key"] = "management_key"


def spec_of(form: ManagementKeyFacts) -> ManagementKeySpec:
    """The key that a form describes."""
    return ManagementKeySpec(form.name, frozenset(form.scopes), form.expires_at, networks=form.networks)


def management_key_out(view: ManagementKeyView, key: str | None = None) -> ManagementKeyOut:
    """A management key as it is answered; ``key`` is its text, this once."""
    return answer_of(
        ManagementKeyOut,
        view,
        account=view.account_id,
        shown_as=view.masked,
        state="active" if view.revoked_at is None else "revoked",
        key=key,
    )
