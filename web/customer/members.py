"""``/accounts/{account}/members``: who is in the account, and who is invited; an owner changes both.

Every change is an operation of ``/v1/members`` or ``/v1/invitations``.
"""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused
from router.identity.members import Role
from store.ids import MemberId, wire
from web.answers import Answer, Page, Redirect
from web.faults import NotFound
from web.forms import Form, form_of
from web.request import PageRequest

RoleName = Literal["owner", "developer", "finance"]
PAGE_MEMBERS = "100"
ROLE_OPTIONS = (
    ("developer", "developer: keys, usage, calls"),
    ("finance", "finance: money and documents, no keys"),
    ("owner", "owner: everything"),
)


class MemberRow(msgspec.Struct, frozen=True):
    """A member, as the operation answers."""

    id: str
    email: str
    name: str
    role: str
    has_signed_in: bool
    created_at: datetime


class InvitationRow(msgspec.Struct, frozen=True):
    """An invitation, as the operation answers."""

    id: str
    email: str
    role: str
    invited_by: str
    times_sent: int
    expires_at: datetime


class _Members(msgspec.Struct, frozen=True):
    data: list[MemberRow]
    next_cursor: str | None = None


class _Invitations(msgspec.Struct, frozen=True):
    data: list[InvitationRow]
    next_cursor: str | None = None


class _Any(msgspec.Struct, frozen=True):
    """An answer of which nothing is needed."""


class MembersPage(Page, frozen=True, kw_only=True):
    """Both lists, and for an owner the forms."""

    template: ClassVar[str] = "customer/members.html"

    base: str
    members: tuple[MemberRow, ...]
    invitations: tuple[InvitationRow, ...]
    form: Form
    roles: tuple[tuple[str, str], ...]
    own_id: str
    is_owner: bool
    now: datetime
    next_href: str | None = None
    notice: str = ""


class MembersQuery(msgspec.Struct, frozen=True):
    """The part of the list, and what was done a moment ago."""

    cursor: str | None = None
    done: Literal["invited", "sent", "withdrawn", "changed", "removed", ""] = ""


class InviteForm(msgspec.Struct, frozen=True):
    """Whom, and as what."""

    email: str = ""
    role: str = "developer"


class RoleForm(msgspec.Struct, frozen=True):
    """Another role."""

    role: str = ""


class NoForm(msgspec.Struct, frozen=True):
    """A button alone."""


NOTICES = {
    "invited": "The invitation is on its way.",
    "sent": "It was sent again.",
    "withdrawn": "The invitation is withdrawn.",
    "changed": "The role is changed, from the next request on.",
    "removed": "The member is removed, from the next request on.",
}


async def show(request: PageRequest) -> MembersPage:
    """Both lists."""
    query = request.query_as(MembersQuery)
    return await _page(request, cursor=query.cursor, notice=NOTICES.get(query.done, ""))


async def invite(request: PageRequest) -> Answer:
    """Invite somebody."""
    form = request.form_as(InviteForm)
    return await _run(request, "create_invitation", {}, {"email": form.email, "role": form.role}, "invited")


async def resend(request: PageRequest) -> Answer:
    """Send an invitation again."""
    request.form_as(NoForm)
    return await _run(request, "resend_invitation", {"invitation_id": request.values["invitation"]}, None, "sent")


async def withdraw(request: PageRequest) -> Answer:
    """Withdraw an invitation."""
    request.form_as(NoForm)
    path = {"invitation_id": request.values["invitation"]}
    return await _run(request, "withdraw_invitation", path, None, "withdrawn")


async def change(request: PageRequest) -> Answer:
    """Give a member another role."""
    form = request.form_as(RoleForm)
    return await _run(
        request, "edit_own_member", {"member_id": request.values["member"]}, {"role": form.role}, "changed"
    )


async def remove(request: PageRequest) -> Answer:
    """Remove a member."""
    request.form_as(NoForm)
    return await _run(request, "remove_own_member", {"member_id": request.values["member"]}, None, "removed")


async def leave(request: PageRequest) -> Answer:
    """Leave the account."""
    request.form_as(NoForm)
    try:
        await request.run("leave_account", _Any)
    except OperationRefused as refused:
        return await _page(request, Form(fault=refused.error.message), status=refused.status)
    return Redirect(to="/me")


async def _run(
    request: PageRequest, operation: str, path: dict[str, str], body: dict[str, str] | None, done: str
) -> Answer:
    try:
        await request.run(operation, _Any, path=path, body=body)
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        return await _page(request, form_of(request, refused), status=refused.status)
    return Redirect(to=f"{_base(request)}?done={done}")


async def _page(
    request: PageRequest, form: Form | None = None, *, cursor: str | None = None, notice: str = "", status: int = 200
) -> MembersPage:
    account_id = request.account()
    membership = request.viewer.membership(account_id)
    assert membership is not None, "its route is for members; this is a bug"
    query = {"limit": PAGE_MEMBERS} | ({"cursor": cursor} if cursor else {})
    members = (await request.run("list_own_members", _Members, query=query)).value
    invitations = (await request.run("list_invitations", _Invitations, query={"limit": PAGE_MEMBERS})).value
    base = _base(request)
    return MembersPage(
        title="Members",
        base=base,
        members=tuple(members.data),
        invitations=tuple(invitations.data),
        form=form or Form(),
        roles=ROLE_OPTIONS,
        own_id=wire(MemberId, membership.member_id),
        is_owner=membership.role is Role.OWNER,
        now=request.exchange.now,
        next_href=f"{base}?cursor={members.next_cursor}" if members.next_cursor else None,
        notice=notice,
        status=status,
    )


def _base(request: PageRequest) -> str:
    return f"/accounts/{request.values['account']}/members"
