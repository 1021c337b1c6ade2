"""``/v1/principal``: who a credential is, and what it may; a management key ends itself here."""

from typing import Literal

from pydantic import Field

from router.api.fields import AccountIdText, Instant
from router.api.forms import Answer
from router.api.management_key_forms import ManagementKeyOut, management_key_out
from router.api.operation import Operations, Who
from router.api.public.account_request import AccountWrite
from router.api.public.request import Private
from router.changes.transaction import UnitOfWork
from router.errors import NotAllowed
from router.identity.management_keys import revoke_management_key
from router.identity.principals import ManagementKey, MemberPrincipal, Principal, actor_of
from router.identity.scopes import ANY_SCOPE, Scope
from router.values import Caller

operations = Operations("principal", "/v1/principal", tag="Account", one="principal", who=Who.KEY)


class PrincipalOut(Answer):
    """Who sends a request."""

    id: str = Field(description="As the audit names it: key_…, mgmt_… or mem_….")
    kind: Literal["api_key", "management_key", "member"]
    account: AccountIdText
    name: str | None = Field(description="Of a key; null for a member.")
    role: str | None = Field(description="Of a member.")
    scopes: list[Scope] = Field(description="What it may; empty for an API key, which has what operations say.")
    expires_at: Instant | None
    object: Literal["principal"] = "principal"


@operations.get("", verb="show", scope=ANY_SCOPE, summary="Who am I?")
async def retrieve(request: Private) -> PrincipalOut:
    """Who sends this request, for which account, with which scopes."""
    return _out(request.principal)


@operations.post("/revoke", verb="revoke", scope=ANY_SCOPE, summary="End this management key", who=Who.MANAGER)
async def revoke(request: AccountWrite) -> ManagementKeyOut:
    """End the management key that sends this: what `gigarouter logout` does."""
    principal = request.principal
    if not isinstance(principal, ManagementKey):
        raise NotAllowed("A member ends sessions, and an owner ends management keys by their ids.")
    key_id = principal.id

    async def command(work: UnitOfWork) -> ManagementKeyOut:
        return management_key_out(await revoke_management_key(work, key_id, request.account_id))

    return await request.change(command)


def _out(principal: Principal) -> PrincipalOut:
    actor = actor_of(principal)
    match principal:
        case Caller(key=key):
            return PrincipalOut(
                id=actor,
                kind="api_key",
                account=key.account_id,
                name=key.name,
                role=None,
                scopes=[],
                expires_at=key.expires_at,
            )
        case ManagementKey():
            return PrincipalOut(
                id=actor,
                kind="management_key",
                account=principal.account_id,
                name=principal.name,
                role=None,
                scopes=[scope for scope in Scope if scope in principal.scopes],
                expires_at=principal.expires_at,
            )
        case MemberPrincipal():
            return PrincipalOut(
                id=actor,
                kind="member",
                account=principal.account_id,
                name=None,
                role=principal.role.value,
                scopes=[scope for scope in Scope if scope in principal.scopes],
                expires_at=None,
            )
