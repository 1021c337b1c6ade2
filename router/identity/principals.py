"""Declares who may act for an account: an API key, a management key, or a member. One of them is on each exchange."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from router.changes.audit import Actor
from router.identity.members import Role
from router.identity.scopes import ROLE_SCOPES, Scope
from router.networks import NO_NETWORKS, NetworkRange
from router.values import Caller
from store.ids import AccountId, KeyId, ManagementKeyId, MemberId, wire


class ManagementKey(msgspec.Struct, frozen=True):
    """An authenticated management key; ``scopes`` have the reading that writing includes."""

    id: ManagementKeyId
    account_id: AccountId
    name: str
    masked: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None
    networks: tuple[NetworkRange, ...] = NO_NETWORKS


class MemberPrincipal(msgspec.Struct, frozen=True):
    """A member of an account who is signed in: put onto the exchange by who has looked at the session."""

    member_id: MemberId
    account_id: AccountId
    role: Role

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
