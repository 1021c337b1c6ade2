"""Names what a principal of an account may do: scopes, what each role has of them, and how a scope is missed.

A scope is an area and whether it is read or written; writing includes reading. An operation of ``/v1`` declares the
scopes of which any one is enough, :mod:`router.api.access` compares.
"""

from collections.abc import Collection, Iterable
from enum import StrEnum

from router.identity.members import Role


class Scope(StrEnum):
    """What may be done in an account."""

    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    USAGE_READ = "usage:read"
    USAGE_WRITE = "usage:write"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    BILLING_READ = "billing:read"
    BILLING_WRITE = "billing:write"
    # What a person is and has, in whichever account: of a key that acts for a member alone.
    PERSON_READ = "person:read"
    PERSON_WRITE = "person:write"
    # Owners', and of no management key: its keys themselves, and the account's end.
    OWNER = "owner"


PERSONAL = frozenset({Scope.PERSON_READ, Scope.PERSON_WRITE})
# What a management key may have, and one that acts for a member.
GRANTABLE = frozenset(Scope) - {Scope.OWNER} - PERSONAL
GRANTABLE_TO_MEMBERS = GRANTABLE | PERSONAL
# Whoever sees the one or the other sees what is spent; what calls were made is for usage:read alone.
SPENDING = frozenset({Scope.USAGE_READ, Scope.BILLING_READ})
# What warns of spending: budgets and webhooks.
ALERTS_WRITE = frozenset({Scope.USAGE_WRITE, Scope.BILLING_WRITE})
# Whoever belongs to the account, with whichever scopes.
ANY_SCOPE = frozenset(Scope)

_INCLUDES = {
    Scope(f"{area}:write"): Scope(f"{area}:read") for area in ("keys", "usage", "members", "billing", "person")
}


def with_reads(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """The scopes with the reading that writing includes."""
    held = frozenset(scopes)
    return held | {_INCLUDES[scope] for scope in held if scope in _INCLUDES}


ROLE_SCOPES: dict[Role, frozenset[Scope]] = {
    Role.OWNER: frozenset(Scope),
    Role.DEVELOPER: with_reads({Scope.KEYS_WRITE, Scope.USAGE_WRITE, Scope.MEMBERS_READ, Scope.PERSON_WRITE}),
    Role.FINANCE: with_reads({Scope.BILLING_WRITE, Scope.MEMBERS_READ, Scope.PERSON_WRITE}),
}


def roles_with(scopes: Collection[Scope]) -> list[Role]:
    """The roles of members that have one of the scopes, owners first."""
    return [role for role, held in ROLE_SCOPES.items() if held & frozenset(scopes)]


def text_of(scopes: Collection[Scope]) -> str:
    """Scopes for a person: ``usage:read or billing:read``."""
    if frozenset(scopes) >= ANY_SCOPE:
        return "any"
    return " or ".join(scope.value for scope in Scope if scope in scopes)
