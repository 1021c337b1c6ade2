"""Checks who may call an operation, by the spec of the matched route: never by the URL as a client wrote it."""

from ipaddress import ip_address

from starlette.requests import Request

from router.api.exchange import EXCHANGE, Exchange
from router.api.operation import OperationRoute, OperationSpec, Who
from router.api.read_limit import ReadLimit
from router.changes.audit import Actor
from router.context import RouterContext
from router.errors import NotAllowed, OperationNotFound, RoleInsufficient
from router.identity.authenticate import authenticate_caller
from router.identity.operators import authenticate_operator
from store.ids import MemberId, wire

NOT_FOUND = "There is no operation at this path."

# Answered from this process's memory, and made before calls.
UNLIMITED = ("quotes",)


async def check_access(request: Request) -> None:
    """The dependency of every operation but the hot one: raises unless the caller may.

    Fills ``exchange.caller``, or ``exchange.operator`` and ``exchange.actor``. An exchange that has an actor and no
    operator is the machine's own (:mod:`router.api.in_process`), for which every operation is; one that has either an
    operator or a caller is of somebody whom a page has identified, and may what those may.
    """
    exchange: Exchange = request.scope[EXCHANGE]
    route = request.scope["route"]
    assert isinstance(route, OperationRoute), "an operation is declared by Operations; this is a bug"
    exchange.operation, who = route.path, route.spec.who
    exchange.holds_secret = route.spec.shows_once
    if who is Who.ANYONE or (exchange.actor is not None and exchange.operator is None and exchange.caller is None):
        return
    context: RouterContext = request.app.state.context
    if who is Who.VISITOR and exchange.authorization is None:
        return
    if who in (Who.KEY, Who.VISITOR):
        if exchange.caller is not None:
            return
        exchange.caller = await authenticate_caller(
            exchange.authorization, context.keys, exchange.now, context.catch_up
        )
        if route.spec.noun not in UNLIMITED:
            reads: ReadLimit = request.app.state.reads
            reads.count(exchange.caller.key.id, exchange.began)
    elif who is Who.OPERATOR:
        await _check_operator(exchange, context, route.spec)
    elif not _is_nearby(request):
        raise OperationNotFound(NOT_FOUND)


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
