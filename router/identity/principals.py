"""Declares who may act for an account: an API key, a management key, or a member. One of them is on each exchange."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from router.changes.audit import Actor
from router.identity.members import Role
from router.identity.scopes import ROLE_SCOPES, Scope
from router.networks import NO_NETWORKS, NetworkRange
from router.values import Caller
from store.ids import AccountId, KeyId, ManagementKeyId, MemberId, PersonId, SessionId, wire


class ManagementKey(msgspec.Struct, frozen=True):
    """An authenticated management key; ``scopes`` have the reading that writing includes.

    ``member_id``: for whom it acts, where `gigarouter login` made it.
    """

    id: ManagementKeyId
    account_id: AccountId
    name: str
    masked: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None
    member_id: MemberId | None = None
    networks: tuple[NetworkRange, ...] = NO_NETWORKS


class PersonPrincipal(msgspec.Struct, frozen=True):
    """A person who acts for themselves, in no account: in a session, or by a management key that acts for a member."""

    person_id: PersonId
    actor: Actor
    session_id: SessionId | None = None


class MemberPrincipal(msgspec.Struct, frozen=True):
    """A member of an account who is signed in: put onto the exchange by who has looked at the session.

    ``only_reads``: an operator who sees the account as an owner does; ``member_id`` is the operator's own.
    """

    member_id: MemberId
    account_id: AccountId
    role: Role
    only_reads: bool = False

    @property
    def scopes(self) -> frozenset[Scope]:
        """What the role has."""
        return ROLE_SCOPES[self.role]


Manager: TypeAlias = ManagementKey | MemberPrincipal
Principal: TypeAlias = Caller | Manager


def account_of(principal: Principal) -> AccountId:
    """The account for which a principal acts."""
    return principal.key.account_id if isinstance(principal, Caller) else principal.account_id


def actor_of(principal: Principal) -> Actor:
    """A principal as the audit names it: ``key_…``, ``mgmt_…`` or ``mem_…``."""
    match principal:
        case Caller():
            return Actor(wire(KeyId, principal.key.id))
        case ManagementKey():
            return Actor(wire(ManagementKeyId, principal.id))
        case MemberPrincipal():
            return Actor(wire(MemberId, principal.member_id))
