"""``/admin/v1/operators``: keys for the admin API and invitations to its pages, made and ended on the machine alone."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field

from router.api.admin.request import Read, Write
from router.api.fields import EmailAddress, Instant, InvitationIdText, MemberIdText, OperatorKeyIdText
from router.api.forms import Body, Page, PageQuery, Resource, answer_of
from router.api.operation import V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.identity.members import Member, Role, add_member, members_of_email
from router.identity.operators import OperatorKeyView, create_operator_key, list_operator_keys, revoke_operator_key
from router.identity.people.invitations import Invitation, invite_operator
from store.ids import OperatorKeyId, wire

operations = Operations("operators", f"{V1}/operators")

# A key that could make or end keys would be worth all of them, whoever finds it.
ROOT_OF_TRUST = "who may call the admin API is decided by those who have the machine, never by a key for that API"


class OperatorKeyCreate(Body):
    """A new key of an operator."""

    email: str = Field(description="The operator's e-mail address; a person who is none yet becomes one.")
    role: Role | None = Field(
        None, description="ops (all but money) or finance_admin (money); needed for a new operator."
    )
    name: str = Field("default", description="What the key is for, such as a machine's name.")
    expires_at: Instant | None = Field(None, description="When it stops; null: never.")


class OperatorKeyOut(Resource):
    """An operator's key."""

    columns: ClassVar[tuple[str, ...]] = ("id", "operator", "role", "name", "shown_as", "state", "expires_at")
    once: ClassVar[frozenset[str]] = frozenset({"key"})

    id: OperatorKeyIdText
    operator: str = Field(description="The person's e-mail address.")
    role: Role
    member: MemberIdText
    name: str
    shown_as: str
    state: Literal["active", "revoked"]
    created_at: Instant
    expires_at: Instant | None
    key: str | None = Field(
        None, description="The key itself, in the answer to its making and that answer's replays alone."
    )
    object: Literal["operator_key"] = "operator_key"


class OperatorInvite(Body):
    """Whom to let into the pages of operators."""

    email: EmailAddress = Field(description="The operator's e-mail address; an operator is let in anew.")
    role: Role | None = Field(
        None, description="ops (all but money) or finance_admin (money); needed for a new operator."
    )


class OperatorInvitationOut(Resource):
    """An invitation to become an operator, or to register a passkey in place of one that was lost."""

    once: ClassVar[frozenset[str]] = frozenset({"path", "url"})

    id: InvitationIdText
    email: str
    role: Role
    created_at: Instant
    expires_at: Instant
    path: str | None = Field(
        None,
        description="The page that registers the passkey, as it is mailed: whoever opens it is the operator. In the "
        "answer to its making and that answer's replays alone.",
    )
    url: str | None = Field(None, description="The same with the address of the pages (GIGAROUTER_WEB_URL).")
    object: Literal["operator_invitation"] = "operator_invitation"


@operations.get("", verb="list", summary="List operators' keys", local=ROOT_OF_TRUST)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[OperatorKeyOut]:
    """All operators' keys, the oldest first, without the keys."""
    rows = [_out(view) for view in query.cut(await admin.read(list_operator_keys), lambda view: _key(view.id))]
    return admin.page(query, rows, lambda row: _key(row.id))


@operations.post("", verb="create", summary="Make an operator's key", status=201, shows_once=True, local=ROOT_OF_TRUST)
async def create(admin: Write, body: OperatorKeyCreate) -> OperatorKeyOut:
    """Make a key of an operator. It is shown this once, and again to the same request with its Idempotency-Key."""

    async def command(work: UnitOfWork) -> OperatorKeyOut:
        member = await _operator(work, body.email, body.role)
        text, view = await create_operator_key(work, member.id, body.name, expires_at=body.expires_at)
        return _out(view).model_copy(update={"key": text})

    return await admin.change(command)


@operations.post(
    "/invite", verb="invite", summary="Invite an operator", status=201, shows_once=True, local=ROOT_OF_TRUST
)
async def invite(admin: Write, body: OperatorInvite) -> OperatorInvitationOut:
    """Invite an operator to register a passkey, by which alone operators sign in to pages.

    It lasts a day. Used, it ends all sessions and passkeys that the operator had.
    """

    async def command(work: UnitOfWork) -> OperatorInvitationOut:
        role = body.role or (await _operator(work, body.email, None)).role
        invitation, path = await invite_operator(work, body.email, role, invited_by=work.actor)
        return _invitation_out(invitation).model_copy(update={"path": path, "url": f"{admin.context.web_url}{path}"})

    return await admin.change(command)


@operations.post("/{key_id}/revoke", verb="revoke", summary="Revoke an operator's key", local=ROOT_OF_TRUST)
async def revoke(admin: Write, key_id: OperatorKeyIdText) -> OperatorKeyOut:
    """End a key for good, everywhere within a second."""

    async def command(work: UnitOfWork) -> OperatorKeyOut:
        return _out(await revoke_operator_key(work, key_id))

    return await admin.change(command)


async def _operator(work: UnitOfWork, email: str, role: Role | None) -> Member:
    """The operator with this address, or a new one. Raises ``InvalidRequest`` for one who has another role."""
    found = [member for member in await members_of_email(work.connection, email) if member.account_id is None]
    if not found:
        if role is None:
            raise InvalidRequest(f"{email} is no operator yet: which role, ops or finance_admin?", param="role")
        return await add_member(work, None, email, role)
    if role not in (None, found[0].role):
        raise InvalidRequest(f"{email} is {found[0].role.value}; editing the member changes that.", param="role")
    return found[0]


def _invitation_out(invitation: Invitation) -> OperatorInvitationOut:
    return answer_of(OperatorInvitationOut, invitation)


def _key(key_id: OperatorKeyId) -> str:
    return wire(OperatorKeyId, key_id)


def _out(view: OperatorKeyView) -> OperatorKeyOut:
    return answer_of(
        OperatorKeyOut,
        view,
        operator=view.email,
        member=view.member_id,
        shown_as=view.masked,
        state="active" if view.revoked_at is None else "revoked",
    )
