"""Invites, changes and removes members as an account does by itself, bound to that account.

Owners are made, changed and removed by owners who are signed in: a management key that leaked makes nobody mightier.
"""

from router.changes.transaction import UnitOfWork
from router.errors import Conflict, NotAllowed, NotFound
from router.identity.members import Member, Role, change_role, get_member, remove_member
from router.identity.people.invitations import Invitation, get_invitation, invite, resend_invitation
from router.identity.people.values import require_email
from store.ids import AccountId, InvitationId, MemberId, wire

OWNERS = "Owners are invited, changed and removed by an owner who is signed in, never by a management key."


async def own_member(work: UnitOfWork, account_id: AccountId, member_id: MemberId) -> Member:
    """A member of the account, locked. Raises ``NotFound``, for those of others too."""
    member = await get_member(work.connection, member_id, locked=True)
    if member.account_id != account_id:
        raise NotFound(f"There is no member {wire(MemberId, member_id)}.", param="member")
    return member


async def change_own_role(
    work: UnitOfWork, account_id: AccountId, member_id: MemberId, role: Role, *, is_signed_in: bool
) -> Member:
    """Give a member another role. Raises ``NotFound``, ``InvalidRequest``, ``NotAllowed``, ``Conflict``."""
    member = await own_member(work, account_id, member_id)
    if Role.OWNER in (member.role, role) and not is_signed_in:
        raise NotAllowed(OWNERS)
    return await change_role(work, member_id, role)


async def remove_own_member(
    work: UnitOfWork, account_id: AccountId, member_id: MemberId, *, is_signed_in: bool
) -> Member:
    """Take a member out of the account. Raises ``NotFound``, ``NotAllowed``, ``Conflict`` for the last owner."""
    member = await own_member(work, account_id, member_id)
    if member.role is Role.OWNER and not is_signed_in:
        raise NotAllowed(OWNERS)
    await remove_member(work, member_id)
    return member


async def invite_to_own(
    work: UnitOfWork, account_id: AccountId, email: str, role: Role, *, inviter: MemberId | None, name: str
) -> Invitation:
    """Invite somebody; ``inviter`` is a member who is signed in, else ``name`` says who invites.

    Raises ``InvalidRequest``, ``NotAllowed``, ``Conflict``, ``RequestLimit``.
    """
    if role is Role.OWNER and inviter is None:
        raise NotAllowed(OWNERS)
    if inviter is not None:
        member = await get_member(work.connection, inviter)
        if member.email.lower() == require_email(email).lower():
            raise Conflict(
                f"{member.email} is your own address: you are a member already, as {member.role.value}.", param="email"
            )
        name = f"{member.name} ({member.email})" if member.name else member.email
    return await invite(work, account_id, email, role, invited_by=name)


async def resend_own(
    work: UnitOfWork, account_id: AccountId, invitation_id: InvitationId, *, is_signed_in: bool
) -> Invitation:
    """Send an invitation again. Raises as :func:`router.identity.people.invitations.resend_invitation` does."""
    invitation = await get_invitation(work.connection, invitation_id)
    if invitation.account_id == account_id and invitation.role is Role.OWNER and not is_signed_in:
        raise NotAllowed(OWNERS)
    return await resend_invitation(work, account_id, invitation_id)
