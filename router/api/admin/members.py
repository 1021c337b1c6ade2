"""``/admin/v1/members``: people of accounts, and who the operators are.

Operators are made, changed and removed on the machine, not here: no key of the admin API can make a mightier one.
"""

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.bodies import Nothing
from router.api.admin.mutation import Current, Made, change
from router.api.admin.operation import acts, edits, lists, makes, shows
from router.api.admin.parsing import V1, body_of, given_id, id_of, query_of, read, rfc3339
from router.api.admin.responses import Resource, listed, one, page, slice_of
from router.api.operation import OperationRoute
from router.changes.transaction import UnitOfWork
from router.errors import RoleInsufficient
from router.identity.members import (
    OPERATOR_ROLES,
    Member,
    Role,
    add_member,
    change_role,
    get_member,
    list_members,
    remove_member,
)
from store.ids import AccountId, MemberId, wire

operations = APIRouter(route_class=OperationRoute)
PATH = f"{V1}/members"
TAG = "Members"


class MemberOut(Resource, frozen=True):
    """A person. ``account`` null: an operator."""

    id: str
    account: str | None
    email: str
    name: str
    role: str
    created_at: str | None
    object: str = "member"


class MemberCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person of an account: owner, developer or finance."""

    account: str
    email: str
    role: Role
    name: str = ""


class MemberEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another role."""

    role: Role


class Removed(msgspec.Struct, frozen=True):
    """Who was taken out."""

    id: str
    removed: bool = True
    object: str = "member"


@operations.get(PATH, **lists("list_members", "List members", TAG, MemberOut, "account"))
async def list_(request: Request) -> Response:
    """The members of an account; without one, the operators."""
    query = query_of(request, "limit", "cursor", "account")
    part = slice_of(query)
    account = AccountId(given_id(AccountId, query["account"], "account")) if "account" in query else None
    found = await read(request, lambda connection: list_members(connection, account))
    return page(request, listed(found, part, _key), part, _key, _out)


@operations.post(PATH, **makes("add_member", "Add a member", TAG, MemberOut, MemberCreate))
async def create(request: Request) -> Response:
    """Add a person to an account."""
    body = body_of(request, MemberCreate)
    account = AccountId(given_id(AccountId, body.account, "account"))

    async def command(work: UnitOfWork) -> Made:
        member = await add_member(work, account, body.email, body.role, body.name)
        return Made(_out(member), 201, f"{PATH}/{wire(MemberId, member.id)}")

    return await change(request, command)


@operations.get(f"{PATH}/{{member_id}}", **shows("retrieve_member", "Retrieve a member", TAG, MemberOut))
async def retrieve(request: Request, member_id: str) -> Response:
    """One person."""
    query_of(request)
    known = _id(member_id)
    return one(_out(await read(request, lambda connection: get_member(connection, known))))


@operations.patch(f"{PATH}/{{member_id}}", **edits("edit_member", "Change a role", TAG, MemberOut, MemberEdit))
async def edit(request: Request, member_id: str) -> Response:
    """Change a person's role; an account keeps an owner."""
    known, body = _id(member_id), body_of(request, MemberEdit)

    async def command(work: UnitOfWork) -> Made:
        await _refuse_operators(work.connection, known)
        return Made(_out(await change_role(work, known, body.role)))

    return await change(request, command, current=_current(known), needs_match=True)


@operations.post(f"{PATH}/{{member_id}}/remove", **acts("remove_member", "Remove a member", TAG, Removed, Nothing))
async def remove(request: Request, member_id: str) -> Response:
    """Take a person out; an account keeps an owner."""
    known = _id(member_id)
    body_of(request, Nothing)

    async def command(work: UnitOfWork) -> Made:
        await _refuse_operators(work.connection, known)
        await remove_member(work, known)
        return Made(Removed(wire(MemberId, known)))

    return await change(request, command, current=_current(known))


async def _refuse_operators(connection: AsyncConnection, known: MemberId) -> None:
    member = await get_member(connection, known, locked=True)
    if member.role in OPERATOR_ROLES:
        raise RoleInsufficient(
            f"{member.email} is an operator. They are changed and removed on the machine: `gigarouter admin members`."
        )


def _current(known: MemberId) -> Current:
    async def current(work: UnitOfWork) -> MemberOut:
        return _out(await get_member(work.connection, known, locked=True))

    return current


def _id(text: str) -> MemberId:
    return MemberId(id_of(MemberId, text, "member"))


def _key(member: Member) -> str:
    return member.id.hex


def _out(member: Member) -> MemberOut:
    return MemberOut(
        id=wire(MemberId, member.id),
        account=None if member.account_id is None else wire(AccountId, member.account_id),
        email=member.email,
        name=member.name,
        role=member.role.value,
        created_at=rfc3339(member.created_at),
    )
