"""Serves ``/v1/members``: the people of the account and what each may do."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.admin.own_members import change_own_role, own_member, remove_own_member
from router.api.fields import Flag, Instant, MemberIdText
from router.api.forms import Answer, Body, Form, Page, PageQuery, answer_of
from router.api.operation import Operations, Who
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.changes.transaction import UnitOfWork, transact
from router.errors import NotAllowed, NotFound
from router.identity.members import Member, Role, get_member, list_members, remove_member
from router.identity.principals import MemberPrincipal
from router.identity.scopes import Scope
from store.ids import MemberId, wire

operations = Operations("members", "/v1/members", tag="Members", who=Who.MANAGER)
ONE = "/{member_id}"
DryRun = Annotated[Flag, Query(description="1: answer what would be, and do nothing.")]


class OwnMemberFacts(Form):
    """What may be set of a member."""

    role: Literal[Role.OWNER, Role.DEVELOPER, Role.FINANCE] = Field(
        description="owner: everything; developer: keys, usage and calls; finance: money and documents, and no keys."
    )


class OwnMemberEdit(OwnMemberFacts, Body):
    """Another role."""


class OwnMemberOut(OwnMemberFacts, Answer):
    """A person of the account."""

    columns: ClassVar[tuple[str, ...]] = ("id", "email", "name", "role", "has_signed_in", "created_at")

    id: MemberIdText
    email: str
    name: str
    has_signed_in: bool = Field(description="Whether somebody has signed in with that address since it was added.")
    created_at: Instant
    object: Literal["member"] = "member"


class OwnMemberRemoved(Answer):
    """Who was taken out."""

    id: MemberIdText
    removed: Literal[True] = True
    object: Literal["member"] = "member"


@operations.get("", verb="list", name="list_own_members", scope=Scope.MEMBERS_READ, summary="List members")
async def list_(request: Private, query: Annotated[PageQuery, Query()]) -> Page[OwnMemberOut]:
    """The account's members, the oldest first."""

    async def ask(tx: AsyncConnection) -> list[OwnMemberOut]:
        return [_out(one) for one in query.cut(await list_members(tx, request.account_id), _key)]

    return request.paging.page(query, await ask_postgres(request.context, ask), _key)


@operations.get(ONE, verb="show", name="retrieve_own_member", scope=Scope.MEMBERS_READ, summary="A member")
async def retrieve(request: Private, member_id: MemberIdText) -> OwnMemberOut:
    """One member of the account."""

    async def ask(tx: AsyncConnection) -> OwnMemberOut:
        member = await get_member(tx, member_id)
        if member.account_id != request.account_id:
            raise NotFound(f"There is no member {wire(MemberId, member_id)}.", param="member")
        return _out(member)

    return await ask_postgres(request.context, ask)


@operations.patch(ONE, verb="edit", name="edit_own_member", scope=Scope.MEMBERS_WRITE, summary="Change a role")
async def edit(request: Private, member_id: MemberIdText, body: OwnMemberEdit, dry_run: DryRun = False) -> OwnMemberOut:
    """Change what a member may do, from their next request on. An account keeps an owner."""

    async def command(work: UnitOfWork) -> OwnMemberOut:
        is_signed_in = request.is_member
        return _out(await change_own_role(work, request.account_id, member_id, body.role, is_signed_in=is_signed_in))

    return await transact(request.context.db, request.actor, command, dry_run=dry_run)


@operations.post(
    f"{ONE}/remove", verb="remove", name="remove_own_member", scope=Scope.MEMBERS_WRITE, summary="Remove a member"
)
async def remove(request: Private, member_id: MemberIdText, dry_run: DryRun = False) -> OwnMemberRemoved:
    """Take a member out of the account, whose sessions see it no more from the next request on.

    API keys stay; an account keeps an owner.
    """

    async def command(work: UnitOfWork) -> OwnMemberRemoved:
        await remove_own_member(work, request.account_id, member_id, is_signed_in=request.is_member)
        return OwnMemberRemoved(id=member_id)

    return await transact(request.context.db, request.actor, command, dry_run=dry_run)


@operations.post("/leave", verb="leave", name="leave_account", scope=Scope.MEMBERS_READ, summary="Leave the account")
async def leave(request: Private, dry_run: DryRun = False) -> OwnMemberRemoved:
    """Take oneself out of the account; its last owner stays. For members who are signed in."""
    principal = request.principal
    if not isinstance(principal, MemberPrincipal):
        raise NotAllowed("A management key is no member, and cannot leave.")

    async def command(work: UnitOfWork) -> OwnMemberRemoved:
        await own_member(work, request.account_id, principal.member_id)
        await remove_member(work, principal.member_id)
        return OwnMemberRemoved(id=principal.member_id)

    return await transact(request.context.db, request.actor, command, dry_run=dry_run)


def _key(member: Member | OwnMemberOut) -> str:
    return wire(MemberId, member.id)


def _out(member: Member) -> OwnMemberOut:
    return answer_of(OwnMemberOut, member, has_signed_in=member.person_id is not None)
