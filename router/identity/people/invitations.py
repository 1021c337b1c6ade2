"""Invites people to an account by e-mail: who proves to have the address becomes a member with its role."""

import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest, NotFound, RequestLimit
from router.identity.members import OPERATOR_ROLES, Member, Role, add_member, members_of_email
from router.identity.people.limits import INVITATIONS_OF_ACCOUNT, INVITATIONS_OF_ADDRESS
from router.identity.people.mails import Invitation as InvitationMail
from router.identity.people.mails import Recipient, enqueue
from router.identity.people.values import Person, digest_of_secret, is_secret, require_email
from store.ids import AccountId, InvitationId, new_id, wire

LASTS, OPERATORS_LASTS = timedelta(days=7), timedelta(days=1)
TIMES_SENT_MAX = 10
PATH, OPERATORS_PATH = "/invitations/", "/sign-in/operator/"

_COLUMNS = (
    "i.id, i.account_id, i.email, i.role, i.invited_by, i.created_at, i.sent_at, i.times_sent, i.expires_at, i.state"
)
_FROM = f"""
    SELECT {_COLUMNS}, coalesce(a.name, '') AS account_name
    FROM invitations i LEFT JOIN accounts a ON a.id = i.account_id
"""  # noqa: S608 - constants
_GET = text(f"{_FROM} WHERE i.id = :id")
_LOCK = text(f"{_FROM} WHERE i.id = :id FOR UPDATE OF i")
_OPEN_OF_ACCOUNT = text(f"{_FROM} WHERE i.account_id = :account AND i.state = 'open' ORDER BY i.id LIMIT 1000")
_OPEN_OF_EMAIL = text(f"""
    {_FROM} WHERE lower(i.email) = lower(:email) AND i.account_id IS NOT NULL AND i.state = 'open'
        AND i.expires_at > :now AND a.status <> 'closed' ORDER BY i.id LIMIT 100
""")
_BY_TOKEN = text(f"{_FROM} WHERE i.token_digest = :token FOR UPDATE OF i")
_INSERT = text("""
    INSERT INTO invitations (id, account_id, email, role, token_digest, invited_by, created_at, sent_at, expires_at)
    VALUES (:id, :account, :email, :role, :token, :by, :now, :now, :expires_at)
""")
_END = text("UPDATE invitations SET state = :state, ended_at = :now WHERE id = :id AND state = 'open'")
_END_OPEN = text("""
    UPDATE invitations SET state = 'withdrawn', ended_at = :now
    WHERE account_id IS NOT DISTINCT FROM :account AND lower(email) = lower(:email) AND state = 'open'
        AND (expires_at <= :now OR account_id IS NULL)
""")
_RESEND = text("""
    UPDATE invitations SET sent_at = :now, times_sent = times_sent + 1, expires_at = :expires_at WHERE id = :id
""")
_COUNT = text("""
    SELECT count(*) FILTER (WHERE account_id = :account) AS of_account,
        count(*) FILTER (WHERE lower(email) = lower(:email)) AS of_address
    FROM invitations WHERE sent_at > :since AND (account_id = :account OR lower(email) = lower(:email))
""")


class InvitationState(StrEnum):
    """The life of an invitation; one that expired is open and can be accepted no more."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class Invitation(msgspec.Struct, frozen=True):
    """An invitation as both sides see it; an operator's has no account."""

    id: InvitationId
    account_id: AccountId | None
    account_name: str
    email: str
    role: Role
    invited_by: str
    created_at: datetime
    sent_at: datetime
    times_sent: int
    expires_at: datetime
    state: InvitationState


async def invite(work: UnitOfWork, account_id: AccountId, email: str, role: Role, *, invited_by: str) -> Invitation:
    """Invite somebody to an account, by mail. ``invited_by`` is a name or an address, as the mail says it.

    Raises ``InvalidRequest``, ``Conflict`` for a member and for somebody who is invited, and ``RequestLimit``.
    """
    email = require_email(email)
    if role in OPERATOR_ROLES:
        raise InvalidRequest("In an account somebody is owner, developer or finance.", param="role")
    if member := await _member_with(work, account_id, email):
        raise Conflict(
            f"{member.email} is a member already, as {member.role.value}. Change the role instead.", param="email"
        )
    await _require_few(work, account_id, email)
    invitation = await _insert(work, account_id, email, role, invited_by, work.now + LASTS)
    await _mail(work, invitation, _path(invitation))
    return invitation


async def invite_operator(work: UnitOfWork, email: str, role: Role, *, invited_by: str) -> tuple[Invitation, str]:
    """Invite an operator, who registers a passkey by the link; its path is returned this once.

    A newer invitation ends the older one. Raises ``InvalidRequest``, ``Conflict`` for one with another role.
    """
    email, token = require_email(email), secrets.token_urlsafe(32)
    if role not in OPERATOR_ROLES:
        raise InvalidRequest("An operator is ops or finance_admin.", param="role")
    existing = [one for one in await members_of_email(work.connection, email) if one.account_id is None]
    if existing and existing[0].role is not role:
        raise Conflict(f"{email} is {existing[0].role.value}; editing the member changes that.", param="role")
    expires_at = work.now + OPERATORS_LASTS
    invitation = await _insert(work, None, email, role, invited_by, expires_at, digest_of_secret(token))
    path = f"{OPERATORS_PATH}{token}"
    await _mail(work, invitation, path)
    return invitation, path


async def find_operator_invitation(connection: AsyncConnection, token: str, now: datetime) -> Invitation | None:
    """Find an operator's invitation by the secret of its link, where it can be accepted; it is locked."""
    if not is_secret(token):
        return None
    row = (await connection.execute(_BY_TOKEN, {"token": digest_of_secret(token)})).one_or_none()
    if row is None or row.state != InvitationState.OPEN or row.expires_at <= now:
        return None
    return _invitation(row)


async def get_invitation(
    connection: AsyncConnection, invitation_id: InvitationId, *, locked: bool = False
) -> Invitation:
    """Read an invitation, and lock it where ``locked``. Raises ``NotFound``."""
    row = (await connection.execute(_LOCK if locked else _GET, {"id": invitation_id})).one_or_none()
    if row is None:
        raise _not_found(invitation_id)
    return _invitation(row)


async def get_own_invitation(connection: AsyncConnection, person: Person, invitation_id: InvitationId) -> Invitation:
    """Read an invitation to an account that is to a person. Raises ``NotFound``, for those of others too."""
    invitation = await get_invitation(connection, invitation_id)
    if not _is_to(invitation, person):
        raise _not_found(invitation_id)
    return invitation


async def list_invitations(connection: AsyncConnection, account_id: AccountId) -> list[Invitation]:
    """List an account's invitations that are open, those that have expired among them."""
    return [_invitation(row) for row in await connection.execute(_OPEN_OF_ACCOUNT, {"account": account_id})]


async def invitations_of_email(connection: AsyncConnection, email: str, now: datetime) -> list[Invitation]:
    """List to which accounts somebody is invited who has this address."""
    return [_invitation(row) for row in await connection.execute(_OPEN_OF_EMAIL, {"email": email, "now": now})]


async def resend_invitation(work: UnitOfWork, account_id: AccountId, invitation_id: InvitationId) -> Invitation:
    """Send an invitation again, which then lasts a week more. Raises ``NotFound``, ``Conflict``, ``RequestLimit``."""
    before = await _open_of(work, account_id, invitation_id)
    if before.times_sent >= TIMES_SENT_MAX:
        raise Conflict(f"It was sent {TIMES_SENT_MAX} times. Withdraw it and invite anew.")
    await _require_few(work, account_id, before.email)
    expires_at = work.now + LASTS
    await work.connection.execute(_RESEND, {"id": invitation_id, "now": work.now, "expires_at": expires_at})
    after = msgspec.structs.replace(before, sent_at=work.now, times_sent=before.times_sent + 1, expires_at=expires_at)
    _record(work, "invitation.resend", after)
    await _mail(work, after, _path(after))
    return after


async def withdraw_invitation(work: UnitOfWork, account_id: AccountId, invitation_id: InvitationId) -> Invitation:
    """Take an invitation back. Raises ``NotFound``, ``Conflict`` where it is over."""
    return await _end(work, await _open_of(work, account_id, invitation_id), InvitationState.WITHDRAWN)


async def accept_invitation(work: UnitOfWork, person: Person, invitation_id: InvitationId) -> Member:
    """Make a person a member, whose verified address the invitation names. Raises ``NotFound``, ``Conflict``."""
    invitation = await _open_to(work, person, invitation_id)
    if invitation.expires_at <= work.now:
        raise Conflict(f"The invitation expired at {invitation.expires_at:%Y-%m-%d %H:%M} UTC. Ask for another one.")
    if member := await _member_with(work, invitation.account_id, person.email):
        raise Conflict(
            f"You are a member of {invitation.account_name} already, as {member.role.value}; an owner can change that. "
            "Decline this invitation."
        )
    await _end(work, invitation, InvitationState.ACCEPTED)
    return await add_member(work, invitation.account_id, person.email, invitation.role, person.name)


async def decline_invitation(work: UnitOfWork, person: Person, invitation_id: InvitationId) -> Invitation:
    """Say no. Raises ``NotFound``, ``Conflict`` where it is over."""
    return await _end(work, await _open_to(work, person, invitation_id), InvitationState.DECLINED)


async def accept_operator_invitation(work: UnitOfWork, invitation: Invitation) -> None:
    """Make the invited an operator, who has registered a passkey in this transaction."""
    await _end(work, invitation, InvitationState.ACCEPTED)
    members = await members_of_email(work.connection, invitation.email)
    if not any(one.account_id is None for one in members):
        await add_member(work, None, invitation.email, invitation.role)


async def _insert(
    work: UnitOfWork,
    account_id: AccountId | None,
    email: str,
    role: Role,
    invited_by: str,
    expires_at: datetime,
    token: bytes | None = None,
) -> Invitation:
    await work.connection.execute(_END_OPEN, {"account": account_id, "email": email, "now": work.now})
    invitation_id = InvitationId(new_id(work.now))
    row: dict[str, object] = {"id": invitation_id, "account": account_id, "email": email, "role": role.value}
    row |= {"token": token} | {"by": invited_by[:300], "now": work.now, "expires_at": expires_at}
    try:
        await work.connection.execute(_INSERT, row)
    except IntegrityError as error:
        if violated_constraint(error) == "invitations_account_id_fkey":
            raise NotFound("There is no such account.", param="account") from error
        raise Conflict(
            f"{email} is invited already. Send that invitation again; for another role withdraw it first.",
            param="email",
        ) from error
    invitation = await get_invitation(work.connection, invitation_id)
    _record(work, "invitation.create", invitation)
    return invitation


async def _member_with(work: UnitOfWork, account_id: AccountId | None, email: str) -> Member | None:
    members = await members_of_email(work.connection, email)
    return next((one for one in members if one.account_id == account_id), None)


async def _end(work: UnitOfWork, invitation: Invitation, state: InvitationState) -> Invitation:
    ended = await work.connection.execute(_END, {"id": invitation.id, "state": state.value, "now": work.now})
    assert ended.rowcount, "it is locked and open; this is a bug"
    after = msgspec.structs.replace(invitation, state=state)
    _record(work, f"invitation.{state.value}", after)
    return after


async def _open_of(work: UnitOfWork, account_id: AccountId, invitation_id: InvitationId) -> Invitation:
    invitation = await get_invitation(work.connection, invitation_id, locked=True)
    if invitation.account_id != account_id:
        raise _not_found(invitation_id)
    return _require_open(invitation)


async def _open_to(work: UnitOfWork, person: Person, invitation_id: InvitationId) -> Invitation:
    invitation = await get_invitation(work.connection, invitation_id, locked=True)
    if not _is_to(invitation, person):
        raise _not_found(invitation_id)
    return _require_open(invitation)


def _is_to(invitation: Invitation, person: Person) -> bool:
    return invitation.account_id is not None and invitation.email.lower() == person.email.lower()


def _require_open(invitation: Invitation) -> Invitation:
    if invitation.state is not InvitationState.OPEN:
        raise Conflict(f"The invitation was {invitation.state.value}.")
    return invitation


async def _require_few(work: UnitOfWork, account_id: AccountId, email: str) -> None:
    since = work.now - INVITATIONS_OF_ACCOUNT.per
    row = (await work.connection.execute(_COUNT, {"account": account_id, "email": email, "since": since})).one()
    if row.of_account >= INVITATIONS_OF_ACCOUNT.hits:
        raise RequestLimit(f"{INVITATIONS_OF_ACCOUNT.hits} invitations were sent within a day. Try tomorrow.")
    if row.of_address >= INVITATIONS_OF_ADDRESS.hits:
        raise RequestLimit(f"{email} was invited {INVITATIONS_OF_ADDRESS.hits} times within a day. Try tomorrow.")


async def _mail(work: UnitOfWork, invitation: Invitation, path: str) -> None:
    mail = InvitationMail(
        account_name=invitation.account_name,
        role=invitation.role.value,
        by=invitation.invited_by,
        path=path,
        until=invitation.expires_at,
    )
    dedupe = f"invitation:{invitation.id.hex}:{invitation.times_sent}"
    await enqueue(work.connection, mail, Recipient(invitation.email), dedupe=dedupe)


def _path(invitation: Invitation) -> str:
    return f"{PATH}{wire(InvitationId, invitation.id)}"


def _record(work: UnitOfWork, action: str, invitation: Invitation) -> None:
    after: dict[str, object] = {"role": invitation.role.value, "state": invitation.state.value}
    after |= {"email": invitation.email, "expires_at": invitation.expires_at.isoformat()}
    subject = wire(InvitationId, invitation.id)
    work.record_change(Change(action, subject, invitation.account_id, after=after))


def _not_found(invitation_id: InvitationId) -> NotFound:
    return NotFound(f"There is no invitation {wire(InvitationId, invitation_id)}.", param="invitation")


def _invitation(row: Row[Any]) -> Invitation:
    return Invitation(
        InvitationId(row.id),
        None if row.account_id is None else AccountId(row.account_id),
        row.account_name,
        row.email,
        Role(row.role),
        row.invited_by,
        row.created_at,
        row.sent_at,
        row.times_sent,
        row.expires_at,
        InvitationState(row.state),
    )
