"""Adds, changes, removes and lists members: what people are in an account, and operators, who belong to none.

Who they are and how they sign in is in :mod:`router.identity.people`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest, NotFound
from router.tables import MemberRow
from store.ids import AccountId, MemberId, PersonId, new_id, wire


class Role(StrEnum):
    """What a person is: in an account the first three, an operator one of the last two."""

    OWNER = "owner"
    DEVELOPER = "developer"
    FINANCE = "finance"
    OPS = "ops"
    FINANCE_ADMIN = "finance_admin"


OPERATOR_ROLES = frozenset({Role.OPS, Role.FINANCE_ADMIN})
MEMBERS = MemberRow.__table__
_PERSON = text("SELECT id FROM people WHERE lower(email) = lower(:email)")


class Member(msgspec.Struct, frozen=True):
    """A person in an account; an operator has no ``account_id``, and who has never signed in no ``person_id``."""

    id: MemberId
    account_id: AccountId | None
    email: str
    name: str
    role: Role
    created_at: datetime
    person_id: PersonId | None = None


async def add_member(work: UnitOfWork, account_id: AccountId | None, email: str, role: Role, name: str = "") -> Member:
    """Add a member of an account, or an operator.

    Raises ``InvalidRequest`` for a role that does not fit, ``NotFound`` for an unknown account, ``Conflict`` for an
    e-mail that is already there.
    """
    if (account_id is None) != (role in OPERATOR_ROLES):
        belongs = "belong to no account" if role in OPERATOR_ROLES else "belong to an account"
        raise InvalidRequest(f"People with the role {role.value} {belongs}.", param="role")
    if not email.partition("@")[0] or not email.partition("@")[2] or " " in email:
        raise InvalidRequest(f"{email!r} is not an e-mail address.", param="email")
    person_id = await work.connection.scalar(_PERSON, {"email": email})
    member = Member(MemberId(new_id()), account_id, email, name, role, work.now, person_id)
    row = {**msgspec.structs.asdict(member), "role": role.value}
    try:
        await work.connection.execute(insert(MemberRow), row)
    except IntegrityError as error:
        if violated_constraint(error) == "members_account_id_fkey":
            raise NotFound("There is no such account.", param="account") from error
        raise Conflict(f"{email} is a member already. Change the role, or remove the member first.") from error
    after: dict[str, object] = {"email": email, "name": name, "role": role.value}
    work.record_change(Change("member.add", wire(MemberId, member.id), account_id, after=after))
    return member


async def change_role(work: UnitOfWork, member_id: MemberId, role: Role) -> Member:
    """Change a person's role.

    Raises ``NotFound``, ``InvalidRequest``, and ``Conflict`` where the account would be left without an owner.
    """
    member = await get_member(work.connection, member_id, locked=True)
    if (role in OPERATOR_ROLES) != (member.account_id is None):
        raise InvalidRequest(
            f"{member.email} cannot become {role.value}: operators belong to no account.", param="role"
        )
    await _require_another_owner(work, member, role)
    await work.connection.execute(update(MemberRow).where(MemberRow.id == member_id).values(role=role.value))
    before: dict[str, object] = {"role": member.role.value}
    change = Change("member.change_role", wire(MemberId, member_id), member.account_id, before, {"role": role.value})
    work.record_change(change)
    return msgspec.structs.replace(member, role=role)


async def remove_member(work: UnitOfWork, member_id: MemberId) -> None:
    """Remove a person. Raises ``NotFound``, and ``Conflict`` where the account would be left without an owner."""
    member = await get_member(work.connection, member_id, locked=True)
    await _require_another_owner(work, member, None)
    await work.connection.execute(update(MemberRow).where(MemberRow.id == member_id).values(removed_at=work.now))
    before: dict[str, object] = {"email": member.email, "role": member.role.value}
    work.record_change(Change("member.remove", wire(MemberId, member_id), member.account_id, before))


async def list_members(connection: AsyncConnection, account_id: AccountId | None) -> list[Member]:
    """List the members of an account, or the operators, in the order in which they were added."""
    owner = MemberRow.account_id.is_(None) if account_id is None else MemberRow.account_id == account_id
    query = select(MEMBERS).where(MemberRow.removed_at.is_(None), owner).order_by(MemberRow.id)
    return [_member(row) for row in await connection.execute(query)]


async def members_of_email(connection: AsyncConnection, email: str) -> list[Member]:
    """The members with an e-mail address, in whichever case; at most one per account, and one operator."""
    same = func.lower(MemberRow.email) == func.lower(email)
    query = select(MEMBERS).where(MemberRow.removed_at.is_(None), same).order_by(MemberRow.id)
    return [_member(row) for row in await connection.execute(query)]


async def get_member(connection: AsyncConnection, member_id: MemberId, *, locked: bool = False) -> Member:
    """Read a person who is not removed, and lock the row where ``locked``. Raises ``NotFound``."""
    query = select(MEMBERS).where(MemberRow.id == member_id, MemberRow.removed_at.is_(None))
    row = (await connection.execute(query.with_for_update() if locked else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no member {wire(MemberId, member_id)}.", param="member")
    return _member(row)


async def _require_another_owner(work: UnitOfWork, member: Member, becomes: Role | None) -> None:
    """Raise ``Conflict`` where the account's last owner would be none any more."""
    if member.role is not Role.OWNER or becomes is Role.OWNER:
        return
    # All owners are locked, so that two of them cannot leave at the same moment, each counting on the other.
    query = select(MemberRow.id).where(
        MemberRow.account_id == member.account_id, MemberRow.role == Role.OWNER.value, MemberRow.removed_at.is_(None)
    )
    owners = (await work.connection.execute(query.order_by(MemberRow.id).with_for_update())).scalars().all()
    if set(owners) <= {member.id}:
        raise Conflict(f"{member.email} is the account's last owner. Make another member owner first.")


def _member(row: Row[Any]) -> Member:
    return Member(MemberId(row.id), row.account_id, row.email, row.name, Role(row.role), row.created_at, row.person_id)
