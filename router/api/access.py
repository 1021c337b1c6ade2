"""Checks who may call an operation, by the spec of the matched route: never by the URL as a client wrote it."""

from ipaddress import ip_address

from starlette.requests import Request

from router.api.exchange import EXCHANGE, Exchange
from router.api.operation import OperationRoute, OperationSpec, Who
from router.api.read_limit import ReadLimit
from router.changes.audit import Actor
from router.context import RouterContext
from router.errors import NotAllowed, OperationNotFound, RoleInsufficient, ScopeInsufficient
from router.identity.authenticate import authenticate_caller
from router.identity.key_networks import require_network
from router.identity.keys import MANAGEMENT
from router.identity.management_keys import authenticate_management_key
from router.identity.operators import authenticate_operator
from router.identity.people.people import person_of_member
from router.identity.principals import ManagementKey, MemberPrincipal, PersonPrincipal, Principal, actor_of
from router.identity.scopes import ANY_SCOPE, PERSONAL, Scope, roles_with, text_of
from router.values import Caller
from store.ids import KeyId, ManagementKeyId, MemberId, wire

NOT_FOUND = "There is no operation at this path."

# Answered from this process's memory, and made before calls.
UNLIMITED = ("quotes",)


async def check_access(request: Request) -> None:
    """The dependency of every operation but the hot one: raises unless the caller may.

    Fills ``exchange.principal`` or ``exchange.operator``, and ``exchange.actor``. An exchange that has an actor and
    neither of them is the machine's own (:func:`router.api.app.create_local_app`), for which every operation is; one
    that has a principal or an operator already is of somebody whom a page has identified, and may what those may.
    """
    exchange: Exchange = request.scope[EXCHANGE]
    route = request.scope["route"]
    assert isinstance(route, OperationRoute), "an operation is declared by Operations; this is a bug"
    exchange.operation, who = route.path, route.spec.who
    exchange.holds_secret = route.spec.shows_once
    somebody = exchange.operator or exchange.principal or exchange.person
    is_machine = exchange.actor is not None and somebody is None
    if who is Who.ANYONE or is_machine:
        return
    context: RouterContext = request.app.state.context
    if who in (Who.KEY, Who.MANAGER, Who.VISITOR):
        await _check_principal(request, exchange, route.spec)
    elif who is Who.PERSON:
        exchange.actor = (await _check_person(request, exchange, route.spec)).actor
    elif who is Who.OPERATOR:
        await _check_operator(exchange, context, route.spec)
    elif not _is_nearby(request):
        raise OperationNotFound(NOT_FOUND)


async def _check_principal(request: Request, exchange: Exchange, spec: OperationSpec) -> None:
    """Find who acts for an account, and whether they may. A visitor may be nobody."""
    if exchange.principal is None:
        if exchange.authorization is None and spec.who is Who.VISITOR:
            return
        exchange.principal = await _authenticate(exchange, request.app.state.context)
        if spec.noun not in UNLIMITED:
            reads: ReadLimit = request.app.state.reads
            reads.count(_id_of(exchange.principal), exchange.began)
    if spec.who is not Who.VISITOR:
        check_scopes(exchange.principal, spec)
    exchange.actor = actor_of(exchange.principal)


async def _authenticate(exchange: Exchange, context: RouterContext) -> Principal:
    authorization = exchange.authorization
    if authorization is not None and authorization[7:].startswith(MANAGEMENT):
        management = await authenticate_management_key(authorization, context.db, exchange.now)
        require_network(management.networks, exchange.client_address)
        return management
    caller = await authenticate_caller(authorization, context.keys, exchange.now, context.catch_up)
    require_network(caller.key.networks, exchange.client_address)
    return caller


async def _check_person(request: Request, exchange: Exchange, spec: OperationSpec) -> PersonPrincipal:
    """Find the person who acts: of a session that a page has looked at, or of a key that acts for a member."""
    if exchange.person is None:
        context: RouterContext = request.app.state.context
        principal = await _authenticate(exchange, context)
        reads: ReadLimit = request.app.state.reads
        reads.count(_id_of(principal), exchange.began)
        if not isinstance(principal, ManagementKey) or principal.member_id is None:
            raise NotAllowed(
                f"{spec.method} {spec.path} is about a person: sign in, or send a key of `gigarouter login` with the "
                f"scope {text_of(spec.scopes)}, which acts for a member. This one acts for an account."
            )
        check_scopes(principal, spec)
        exchange.person = PersonPrincipal(
            await person_of_member(context.db, principal.member_id), actor=actor_of(principal)
        )
    return exchange.person


def _id_of(principal: Principal) -> KeyId | ManagementKeyId | MemberId:
    match principal:
        case Caller():
            return principal.key.id
        case ManagementKey():
            return principal.id
        case MemberPrincipal():
            return principal.member_id


def check_scopes(principal: Principal, spec: OperationSpec) -> None:
    """Raise ``ScopeInsufficient`` or ``NotAllowed`` where a principal may not call an operation, and say who may."""
    if isinstance(principal, MemberPrincipal) and principal.only_reads and (spec.method != "GET" or spec.shows_once):
        raise NotAllowed("You see this account as its owner does, and change nothing in it.")
    if isinstance(principal, Caller):
        if spec.who is Who.KEY:
            return
        raise NotAllowed(
            f"This is an API key, which calls models. {spec.method} {spec.path} is for a management key (gr_mgmt_…) "
            f"with {text_of(spec.scopes)}: an owner of the account makes one, and `gigarouter login` gets one.",
            details={"needed": sorted(spec.scopes)},
        )
    if not spec.scopes:
        raise NotAllowed(
            f"{spec.method} {spec.path} is for API keys (gr_live_…, gr_test_…): management keys and members call no "
            "models. Use a key of the account."
        )
    # Whoever lost all scopes with a role still learns that, and can end its key.
    if principal.scopes & spec.scopes or spec.scopes == ANY_SCOPE:
        return
    needed = text_of(spec.scopes)
    roles = " or ".join(role.value for role in roles_with(spec.scopes))
    if isinstance(principal, ManagementKey):
        who = f"The management key {principal.name} ({principal.masked}) has {', '.join(sorted(principal.scopes))}"
        remedy = _remedy(spec)
    else:
        who, remedy = (
            f"You are {principal.role.value} in this account",
            f"It comes with the role {roles}: an owner of the account can give you that.",
        )
    raise ScopeInsufficient(
        f"{who}; {spec.method} {spec.path} needs {needed}. {remedy}",
        details={"needed": sorted(spec.scopes), "scopes": sorted(principal.scopes)},
    )


def _remedy(spec: OperationSpec) -> str:
    """Where a key comes from that has what an operation needs."""
    if spec.scopes <= PERSONAL:
        return f"`gigarouter login` gets one with the scope {text_of(spec.scopes)}; a key's scopes do not change."
    if spec.scopes <= frozenset({Scope.OWNER}):
        return "No management key has that: an owner of the account does it, signed in."
    return "An owner of the account makes another one with it; a key's scopes do not change."


async def _check_operator(exchange: Exchange, context: RouterContext, spec: OperationSpec) -> None:
    operator = exchange.operator or await authenticate_operator(
        exchange.authorization, context.operators, context.keys, exchange.now, context.catch_up
    )
    exchange.operator, exchange.actor = operator, Actor(wire(MemberId, operator.member_id))
    if spec.local:
        raise NotAllowed(
            f"`gigarouter admin {spec.noun} {spec.verb}` is for the machine where the database is: {spec.local}."
        )
    if operator.role not in spec.roles:
        raise RoleInsufficient(
            f"{operator.name} is {operator.role.value}; {exchange.method} {exchange.operation} is for "
            f"{' or '.join(sorted(spec.roles))}.",
            details={"role": operator.role.value, "needed": sorted(spec.roles)},
        )


def _is_nearby(request: Request) -> bool:
    exchange: Exchange = request.scope[EXCHANGE]
    if exchange.forwarded:
        return False
    # No address: a unix socket.
    return request.client is None or not ip_address(request.client.host).is_global
