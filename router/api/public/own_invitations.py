"""``/v1/me/invitations``: a person reads the invitations to their address, and joins or declines."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.fields import AccountIdText, EmailAddress, Instant, InvitationIdText, MemberIdText
from router.api.forms import Answer, Page, PageQuery, answer_of
from router.api.operation import Operations, Who
from router.api.public.person_request import PersonRead, PersonWrite
from router.changes.transaction import UnitOfWork
from router.identity.members import Role
from router.identity.people.invitations import (
    Invitation,
    InvitationState,
    accept_invitation,
    decline_invitation,
    get_own_invitation,
    invitations_of_email,
)
from router.identity.people.people import get_person
from router.identity.scopes import Scope
from store.ids import InvitationId, wire

operations = Operations("own-invitations", "/v1/me/invitations", tag="You", who=Who.PERSON)
ONE = "/{invitation_id}"


class OwnInvitation(Answer):
    """An invitation to an account, as the invited reads it."""

    columns: ClassVar[tuple[str, ...]] = ("id", "account_name", "role", "invited_by", "state", "expires_at")

    id: InvitationIdText
    account: AccountIdText
    account_name: str
    email: EmailAddress
    role: Role = Field(description="What you are there once you have accepted.")
    invited_by: str = Field(description="Who invited, as the mail says it.")
    created_at: Instant
    expires_at: Instant
    state: InvitationState
    object: Literal["own_invitation"] = "own_invitation"


class Joined(Answer):
    """What the person is in the account from now on."""

    invitation: InvitationIdText
    account: AccountIdText
    member: MemberIdText
    role: Role
    object: Literal["joined"] = "joined"


@operations.get("", verb="list", scope=Scope.PERSON_READ, summary="Who invites you")
async def list_(request: PersonRead, query: Annotated[PageQuery, Query()]) -> Page[OwnInvitation]:
    """The invitations to your address that can be accepted, the oldest first."""

    async def ask(connection: AsyncConnection) -> list[OwnInvitation]:
        person = await get_person(connection, request.person.person_id)
        found = await invitations_of_email(connection, person.email, request.exchange.now)
        return [_out(one) for one in query.cut(found, lambda one: wire(InvitationId, one.id))]

    return request.page(query, await request.read(ask), lambda one: wire(InvitationId, one.id))


@operations.get(ONE, verb="show", scope=Scope.PERSON_READ, summary="Retrieve an invitation to you")
async def retrieve(request: PersonRead, invitation_id: InvitationIdText) -> OwnInvitation:
    """One invitation to your address, also one that is over."""

    async def ask(connection: AsyncConnection) -> OwnInvitation:
        person = await get_person(connection, request.person.person_id)
        return _out(await get_own_invitation(connection, person, invitation_id))

    return await request.read(ask)


@operations.post(f"{ONE}/accept", verb="accept", scope=Scope.PERSON_WRITE, summary="Accept an invitation")
async def accept(request: PersonWrite, invitation_id: InvitationIdText) -> Joined:
    """Join the account with the role that the invitation names."""

    async def command(work: UnitOfWork) -> Joined:
        person = await get_person(work.connection, request.person.person_id)
        member = await accept_invitation(work, person, invitation_id)
        assert member.account_id is not None, "an operator's invitation is accepted elsewhere; this is a bug"
        return Joined(invitation=invitation_id, account=member.account_id, member=member.id, role=member.role)

    return await request.change(command)


@operations.post(f"{ONE}/decline", verb="decline", scope=Scope.PERSON_WRITE, summary="Decline an invitation")
async def decline(request: PersonWrite, invitation_id: InvitationIdText) -> OwnInvitation:
    """Say no: it can be accepted no more."""

    async def command(work: UnitOfWork) -> OwnInvitation:
        person = await get_person(work.connection, request.person.person_id)
        return _out(await decline_invitation(work, person, invitation_id))

    return await request.change(command)


def _out(invitation: Invitation) -> OwnInvitation:
    return answer_of(OwnInvitation, invitation, account=invitation.account_id)
