"""``/admin/v1/members``: people of accounts, and who the operators are.

Operators are made, changed and removed on the machine alone: no key of the admin API can make a mightier one.
"""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.references import account_of, member_of
from router.api.admin.request import Edit, Read, Write
from router.api.fields import AccountIdText, AccountRef, EmailAddress, Instant, MemberIdText, MemberRef
from router.api.forms import Answer, Body, Form, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest, RoleInsufficient
from router.identity.members import OPERATOR_ROLES, Member, Role, add_member, change_role, list_members, remove_member
from store.ids import MemberId, wire

operations = Operations("members", f"{V1}/members")
ONE = "/{member_id}"


class MemberFacts(Form):
    """What may be set."""

    role: Role = Field(description="In an account owner, developer or finance; an operator is ops or finance_admin.")


class MemberCreate(Body):
    """A person of an account: owner, developer or finance."""

    email: EmailAddress = Field(description="The person's e-mail address.")
    role: Role = Field(description="In an account owner, developer or finance; an operator is ops or finance_admin.")
    account: AccountRef | None = Field(
        None, description="Whose person it is, by id or name; an operator, who is made on the machine alone, has none."
    )
    name: str = Field("", description="The person's name.")


class MemberEdit(MemberFacts, Body):
    """Another role."""


class MemberOut(MemberFacts, Resource):
    """A person. ``account`` null: an operator."""

    columns: ClassVar[tuple[str, ...]] = ("id", "account", "email", "name", "role", "created_at")

    id: MemberIdText
    account: AccountIdText | None
    email: str
    name: str
    created_at: Instant
    object: Literal["member"] = "member"


class MemberQuery(PageQuery):
    """Which people."""

    account: AccountRef | None = Field(None, description="Those of this account; without one, the operators.")


class Removed(Answer):
    """Who was taken out."""

    columns: ClassVar[tuple[str, ...]] = ("id", "removed")

    id: MemberIdText
    removed: Literal[True] = True
    object: Literal["member"] = "member"


@operations.get("", verb="list", summary="List members", roles=ALL)
async def list_(admin: Read, query: Annotated[MemberQuery, Query()]) -> Page[MemberOut]:
    """The members of an account; without one, the operators."""

    async def ask(connection: AsyncConnection) -> list[MemberOut]:
        account = None if query.account is None else (await account_of(connection, query.account)).id
        return [_out(one) for one in query.cut(await list_members(connection, account), _key)]

    return admin.page(query, await admin.read(ask), _key)


@operations.post("", verb="add", summary="Add a member", roles=OPS, status=201)
async def add(admin: Write, body: MemberCreate) -> MemberOut:
    """Add a person to an account."""
    if body.account is None and not admin.is_local:
        raise InvalidRequest("'account' is missing.", param="account")

    async def command(work: UnitOfWork) -> MemberOut:
        account = None if body.account is None else (await account_of(work.connection, body.account)).id
        return _out(await add_member(work, account, body.email, body.role, body.name))

    return await admin.change(command)


@operations.get(ONE, verb="show", summary="Retrieve a member", roles=ALL)
async def retrieve(admin: Read, member_id: MemberRef) -> MemberOut:
    """One person, by id or e-mail address."""

    async def ask(connection: AsyncConnection) -> MemberOut:
        return _out(await member_of(connection, member_id))

    return await admin.read(ask)


@operations.patch(ONE, verb="edit", summary="Change a role", roles=OPS)
async def edit(admin: Edit, member_id: MemberRef, body: MemberEdit) -> MemberOut:
    """Change a person's role; an account keeps an owner."""

    async def command(work: UnitOfWork) -> MemberOut:
        member = await _changeable(admin, work, member_id)
        return _out(await change_role(work, member.id, body.role))

    async def current(work: UnitOfWork) -> MemberOut:
        return _out(await member_of(work.connection, member_id, locked=True))

    return await admin.change(command, current=current)


@operations.post(f"{ONE}/remove", verb="remove", summary="Remove a member", roles=OPS)
async def remove(admin: Write, member_id: MemberRef) -> Removed:
    """Take a person out; an account keeps an owner."""

    async def command(work: UnitOfWork) -> Removed:
        member = await _changeable(admin, work, member_id)
        await remove_member(work, member.id)
        return Removed(id=member.id)

    async def current(work: UnitOfWork) -> MemberOut:
        return _out(await member_of(work.connection, member_id, locked=True))

    return await admin.change(command, current=current)


async def _changeable(admin: Write, work: UnitOfWork, text: str) -> Member:
    """The person, locked; an operator is changed on the machine alone."""
    member = await member_of(work.connection, text, locked=True)
    if member.role in OPERATOR_ROLES and not admin.is_local:
        raise RoleInsufficient(
            f"{member.email} is an operator. They are changed and removed on the machine: "
            "`gigarouter admin members edit` and `remove`."
        )
    return member


def _key(member: Member | MemberOut) -> str:
    return wire(MemberId, member.id)


def _out(member: Member) -> MemberOut:
    return answer_of(MemberOut, member, account=member.account_id)
