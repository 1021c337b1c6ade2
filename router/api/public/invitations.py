"""Serves ``/v1/invitations``: people who were invited to the account and have not answered."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.admin.own_members import invite_to_own, resend_own
from router.api.fields import EmailAddress, Instant, InvitationIdText
from router.api.forms import Answer, Body, Page, PageQuery, answer_of
from router.api.operation import Operations, Who
from router.api.public.members import DryRun, OwnMemberFacts
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.changes.transaction import UnitOfWork, transact
from router.identity.people.invitations import Invitation, InvitationState, list_invitations, withdraw_invitation
from router.identity.principals import ManagementKey, MemberPrincipal
from router.identity.scopes import Scope
from store.ids import InvitationId, wire

operations = Operations("invitations", "/v1/invitations", tag="Members", who=Who.MANAGER)
ONE = "/{invitation_id}"


class InvitationFacts(OwnMemberFacts):
    """Who is invited, and as what."""

    email: EmailAddress = Field(description="Whoever proves to have this address may accept.")


class InvitationCreate(InvitationFacts, Body):
    """A new invitation."""


class InvitationOut(InvitationFacts, Answer):
    """An invitation."""

    columns: ClassVar[tuple[str, ...]] = ("id", "email", "role", "invited_by", "times_sent", "expires_at", "state")

    id: InvitationIdText
    invited_by: str = Field(description="Who invited, as the mail says it.")
    times_sent: int
    sent_at: Instant
    created_at: Instant
    expires_at: Instant
    state: InvitationState
    object: Literal["invitation"] = "invitation"


@operations.get("", verb="list", scope=Scope.MEMBERS_READ, summary="List invitations")
async def list_(request: Private, query: Annotated[PageQuery, Query()]) -> Page[InvitationOut]:
    """The invitations that wait for an answer, the oldest first; those that have expired can be sent again."""

    async def ask(tx: AsyncConnection) -> list[InvitationOut]:
        return [_out(one) for one in query.cut(await list_invitations(tx, request.account_id), _key)]

    return request.paging.page(query, await ask_postgres(request.context, ask), _key)


@operations.post("", verb="create", scope=Scope.MEMBERS_WRITE, summary="Invite somebody", status=201)
async def create(request: Private, body: InvitationCreate, dry_run: DryRun = False) -> InvitationOut:
    """Invite somebody to the account by mail, for a week. At most fifty a day, and ten a day to one address."""
    principal = request.principal
    inviter = principal.member_id if isinstance(principal, MemberPrincipal) else None
    name = f"the management key {principal.name}" if isinstance(principal, ManagementKey) else ""

    async def command(work: UnitOfWork) -> InvitationOut:
        return _out(await invite_to_own(work, request.account_id, body.email, body.role, inviter=inviter, name=name))

    return await transact(request.context.db, request.actor, command, dry_run=dry_run)


@operations.post(f"{ONE}/resend", verb="resend", scope=Scope.MEMBERS_WRITE, summary="Send an invitation again")
async def resend(request: Private, invitation_id: InvitationIdText, dry_run: DryRun = False) -> InvitationOut:
    """Send it again; from then on it lasts a week. At most ten times."""

    async def command(work: UnitOfWork) -> InvitationOut:
        return _out(await resend_own(work, request.account_id, invitation_id, is_signed_in=request.is_member))

    return await transact(request.context.db, request.actor, command, dry_run=dry_run)


@operations.post(f"{ONE}/withdraw", verb="withdraw", scope=Scope.MEMBERS_WRITE, summary="Withdraw an invitation")
async def withdraw(request: Private, invitation_id: InvitationIdText, dry_run: DryRun = False) -> InvitationOut:
    """Take an invitation back: it can be accepted no more."""

    async def command(work: UnitOfWork) -> InvitationOut:
        return _out(await withdraw_invitation(work, request.account_id, invitation_id))

    return await transact(request.context.db, request.actor, command, dry_run=dry_run)


def _key(invitation: Invitation | InvitationOut) -> str:
    return wire(InvitationId, invitation.id)


def _out(invitation: Invitation) -> InvitationOut:
    return answer_of(InvitationOut, invitation)
