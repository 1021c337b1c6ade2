"""Who may call which operation: one table, asked for every matched operation; a test walks it and the application.

The row is found by the operation that was matched, never by the URL as the client wrote it.
"""

from enum import StrEnum
from ipaddress import ip_address

from starlette.requests import Request

from router.api.exchange import EXCHANGE, Exchange
from router.context import RouterContext
from router.errors import OperationNotFound, RoleInsufficient
from router.identity.authenticate import authenticate_caller
from router.identity.members import Role
from router.identity.operators import authenticate_operator


class Who(StrEnum):
    """Who an operation is for."""

    ANYONE = "anyone"
    KEY = "key"
    # Operators by their own keys; which of their roles is in OPERATORS_MAY.
    OPERATOR = "operator"
    # Callers in our own network that no proxy stands before: a scraper of metrics.
    NEARBY = "nearby"


ALL = frozenset({Role.OPS, Role.FINANCE_ADMIN})
OPS = frozenset({Role.OPS})
# Money: what customers pay, what they are given, and the leave to charge for weights that are not free to sell.
MONEY = frozenset({Role.FINANCE_ADMIN})

_V1 = "/admin/v1"
OPERATORS_MAY: dict[tuple[str, str], frozenset[Role]] = {
    ("GET", f"{_V1}/providers"): ALL,
    ("POST", f"{_V1}/providers"): OPS,
    ("GET", f"{_V1}/providers/{{provider_id}}"): ALL,
    ("PATCH", f"{_V1}/providers/{{provider_id}}"): OPS,
    ("POST", f"{_V1}/providers/{{provider_id}}/credential"): OPS,
    ("POST", f"{_V1}/providers/{{provider_id}}/test"): OPS,
    ("GET", f"{_V1}/endpoints"): ALL,
    ("POST", f"{_V1}/endpoints"): OPS,
    ("GET", f"{_V1}/endpoints/{{endpoint_id}}"): ALL,
    ("PATCH", f"{_V1}/endpoints/{{endpoint_id}}"): OPS,
    ("POST", f"{_V1}/endpoints/{{endpoint_id}}/probe"): OPS,
    ("POST", f"{_V1}/endpoints/{{endpoint_id}}/drain"): OPS,
    ("POST", f"{_V1}/endpoints/{{endpoint_id}}/resume"): OPS,
    ("POST", f"{_V1}/endpoints/{{endpoint_id}}/quarantine"): OPS,
    ("POST", f"{_V1}/endpoints/{{endpoint_id}}/off"): OPS,
    ("POST", f"{_V1}/endpoints/{{endpoint_id}}/test"): OPS,
    ("GET", f"{_V1}/models"): ALL,
    ("POST", f"{_V1}/models"): OPS,
    ("GET", f"{_V1}/models/{{model_id:path}}"): ALL,
    ("PATCH", f"{_V1}/models/{{model_id:path}}"): OPS,
    ("POST", f"{_V1}/models:import"): OPS,
    ("POST", f"{_V1}/models/{{model_id:path}}:launch"): OPS,
    ("POST", f"{_V1}/models/{{model_id:path}}:deprecate"): OPS,
    ("POST", f"{_V1}/models/{{model_id:path}}:retire"): OPS,
    ("POST", f"{_V1}/models/{{model_id:path}}:announce"): OPS,
    ("GET", f"{_V1}/prices"): ALL,
    ("POST", f"{_V1}/prices"): MONEY,
    ("GET", f"{_V1}/prices/{{price_id}}"): ALL,
    ("GET", f"{_V1}/claims"): ALL,
    ("POST", f"{_V1}/claims"): OPS,
    ("GET", f"{_V1}/claims/{{claim_id}}"): ALL,
    ("GET", f"{_V1}/resolutions"): ALL,
    ("GET", f"{_V1}/resolutions/{{resolution_id}}"): ALL,
    ("POST", f"{_V1}/resolutions"): OPS,
    ("GET", f"{_V1}/waivers"): ALL,
    ("POST", f"{_V1}/waivers"): MONEY,
    ("GET", f"{_V1}/waivers/{{waiver_id}}"): ALL,
    ("POST", f"{_V1}/waivers/{{waiver_id}}/revoke"): MONEY,
    ("GET", f"{_V1}/decisions"): ALL,
    ("GET", f"{_V1}/acceptances"): ALL,
    ("POST", f"{_V1}/acceptances"): OPS,
    ("GET", f"{_V1}/acceptances/{{acceptance_id}}"): ALL,
    ("GET", f"{_V1}/accounts"): ALL,
    ("POST", f"{_V1}/accounts"): ALL,
    ("GET", f"{_V1}/accounts/{{account_id}}"): ALL,
    ("PATCH", f"{_V1}/accounts/{{account_id}}"): ALL,
    ("POST", f"{_V1}/accounts/{{account_id}}/suspend"): ALL,
    ("POST", f"{_V1}/accounts/{{account_id}}/resume"): ALL,
    ("GET", f"{_V1}/accounts/{{account_id}}/grants"): ALL,
    ("POST", f"{_V1}/accounts/{{account_id}}/grants"): MONEY,
    ("GET", f"{_V1}/accounts/{{account_id}}/grants/{{grant_id}}"): ALL,
    ("GET", f"{_V1}/keys"): ALL,
    ("POST", f"{_V1}/keys"): OPS,
    ("GET", f"{_V1}/keys/{{key_id}}"): ALL,
    ("PATCH", f"{_V1}/keys/{{key_id}}"): OPS,
    ("POST", f"{_V1}/keys/{{key_id}}/pause"): OPS,
    ("POST", f"{_V1}/keys/{{key_id}}/resume"): OPS,
    ("POST", f"{_V1}/keys/{{key_id}}/rotate"): OPS,
    ("POST", f"{_V1}/keys/{{key_id}}/revoke"): OPS,
    ("GET", f"{_V1}/members"): ALL,
    ("POST", f"{_V1}/members"): OPS,
    ("GET", f"{_V1}/members/{{member_id}}"): ALL,
    ("PATCH", f"{_V1}/members/{{member_id}}"): OPS,
    ("POST", f"{_V1}/members/{{member_id}}/remove"): OPS,
    ("GET", f"{_V1}/audit"): ALL,
    ("GET", f"{_V1}/requests/{{request_id}}"): ALL,
    ("POST", f"{_V1}/routes:explain"): ALL,
}

ACCESS: dict[tuple[str, str], Who] = {
    ("POST", "/v1/embeddings"): Who.KEY,
    ("GET", "/v1/models"): Who.KEY,
    ("GET", "/v1/models/{model_id:path}"): Who.KEY,
    ("POST", "/v1/models/{model_id:path}/vote"): Who.KEY,
    ("DELETE", "/v1/models/{model_id:path}/vote"): Who.KEY,
    ("GET", "/v1/account"): Who.KEY,
    ("GET", "/v1/requests/{request_id}"): Who.KEY,
    ("POST", "/v1/quote"): Who.KEY,
    ("GET", "/openapi.json"): Who.ANYONE,
    ("GET", "/admin/openapi.json"): Who.ANYONE,
    ("GET", "/health"): Who.ANYONE,
    ("GET", "/ready"): Who.ANYONE,
    ("GET", "/metrics"): Who.NEARBY,
    **dict.fromkeys(OPERATORS_MAY, Who.OPERATOR),
}


async def check_access(request: Request) -> None:
    """The dependency of every operation but the hot one: raises unless the caller may.

    Fills ``exchange.caller`` or ``exchange.operator``.
    """
    exchange: Exchange = request.scope[EXCHANGE]
    exchange.operation = request.scope["route"].path
    who = ACCESS[request.method, exchange.operation]
    if who is Who.ANYONE:
        return
    context: RouterContext = request.app.state.context
    if who is Who.KEY:
        exchange.caller = await authenticate_caller(
            exchange.authorization, context.keys, exchange.now, context.catch_up
        )
    elif who is Who.OPERATOR:
        await _check_operator(exchange, context)
    elif not _is_nearby(request):
        raise OperationNotFound(NOT_FOUND)


async def _check_operator(exchange: Exchange, context: RouterContext) -> None:
    operator = await authenticate_operator(
        exchange.authorization, context.operators, context.keys, exchange.now, context.catch_up
    )
    exchange.operator = operator
    roles = OPERATORS_MAY[exchange.method, exchange.operation]
    if operator.role not in roles:
        raise RoleInsufficient(
            f"{operator.name} is {operator.role.value}; {exchange.method} {exchange.operation} is for "
            f"{' or '.join(sorted(roles))}.",
            details={"role": operator.role.value, "needed": sorted(roles)},
        )


NOT_FOUND = "There is no operation at this path. GET /openapi.json lists them."


def _is_nearby(request: Request) -> bool:
    exchange: Exchange = request.scope[EXCHANGE]
    if exchange.forwarded:
        return False
    # No address: a unix socket.
    return request.client is None or not ip_address(request.client.host).is_global
