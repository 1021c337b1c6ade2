"""What a principal of an account may do: by role of a member, by scope of a management key, and of who only looks."""

import pytest

from router.api.access import check_scopes
from router.api.app import all_operations
from router.api.operation import OperationSpec, Who, operation_routes
from router.errors import NotAllowed
from router.identity.members import Role
from router.identity.principals import ManagementKey, MemberPrincipal, Principal
from router.identity.scopes import GRANTABLE, ROLE_SCOPES, with_reads
from router.values import Caller
from store.ids import AccountId, ManagementKeyId, MemberId, new_id


def specs() -> list[OperationSpec]:
    return [route.spec for noun in all_operations() for route in operation_routes(noun.routes)]


# What each role of a member has, for a person to review.
ROLES = """
owner     billing:read billing:write keys:read keys:write members:read members:write owner usage:read usage:write
developer keys:read keys:write members:read usage:read usage:write
finance   billing:read billing:write members:read
each      person:read person:write
"""


def test_what_each_role_of_a_member_has_is_this_table() -> None:
    table = {
        role: set(scopes.split()) for role, _, scopes in (line.partition(" ") for line in ROLES.strip().split("\n"))
    }
    each = table.pop("each")
    assert {role: set(scopes) for role, scopes in ROLE_SCOPES.items()} == {
        role: scopes | each for role, scopes in table.items()
    }


ACCOUNT = AccountId(new_id())
PRINCIPALS: dict[str, Principal] = {
    **{
        role.value: MemberPrincipal(member_id=MemberId(new_id()), account_id=ACCOUNT, role=role) for role in ROLE_SCOPES
    },
    **{
        f"gr_mgmt_ {scope}": ManagementKey(
            ManagementKeyId(new_id()), ACCOUNT, "robot", "gr_mgmt_abcd…wxyz", with_reads({scope})
        )
        for scope in GRANTABLE
    },
}


@pytest.mark.parametrize("name", sorted(PRINCIPALS))
def test_a_principal_may_what_its_scopes_say_and_else_reads_who_can_give_them(name: str) -> None:
    principal = PRINCIPALS[name]
    assert not isinstance(principal, Caller)
    for spec in (one for one in specs() if one.who in (Who.KEY, Who.MANAGER)):
        if spec.scopes & principal.scopes:
            check_scopes(principal, spec)
            continue
        with pytest.raises(NotAllowed) as refused:
            check_scopes(principal, spec)
        message = refused.value.message
        assert f"{spec.method} {spec.path} " in message
        assert "Use a key of the account." in message or "owner of the account" in message, message
        assert all(scope in message for scope in spec.scopes), message


def test_who_only_looks_may_read_what_an_owner_reads_and_write_nothing() -> None:
    looking = MemberPrincipal(MemberId(new_id()), ACCOUNT, Role.OWNER, only_reads=True)
    for spec in (one for one in specs() if one.who in (Who.KEY, Who.MANAGER) and one.scopes):
        if spec.method == "GET":
            check_scopes(looking, spec)
            continue
        with pytest.raises(NotAllowed):
            check_scopes(looking, spec)
