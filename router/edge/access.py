"""Who may call which operation: one table, asked for every matched operation; a test walks it and the application.

The row is found by the operation that was matched, never by the URL as the client wrote it.
"""

from enum import StrEnum
from ipaddress import ip_address

from starlette.requests import Request

from router.callers import who_calls
from router.edge.exchange import EXCHANGE, Exchange
from router.errors import OperationNotFound
from router.parts import Parts


class Who(StrEnum):
    """Who an operation is for."""

    ANYONE = "anyone"
    KEY = "key"
    OPERATOR = "operator"
    # Callers in our own network that no proxy stands before: a scraper of metrics.
    NEARBY = "nearby"


ACCESS: dict[tuple[str, str], Who] = {
    ("POST", "/v1/embeddings"): Who.KEY,
    ("GET", "/v1/models"): Who.KEY,
    ("GET", "/v1/models/{model_id:path}"): Who.KEY,
    ("GET", "/v1/account"): Who.KEY,
    ("GET", "/v1/requests/{request_id}"): Who.KEY,
    ("POST", "/v1/quote"): Who.KEY,
    ("GET", "/admin/v1/requests/{request_id}"): Who.OPERATOR,
    ("POST", "/admin/v1/routes:explain"): Who.OPERATOR,
    ("GET", "/openapi.json"): Who.ANYONE,
    ("GET", "/health"): Who.ANYONE,
    ("GET", "/ready"): Who.ANYONE,
    ("GET", "/metrics"): Who.NEARBY,
}


async def check_access(request: Request) -> None:
    """The dependency of every operation but the hot one: raises unless the caller may. Fills ``exchange.caller``."""
    exchange: Exchange = request.scope[EXCHANGE]
    exchange.operation = request.scope["route"].path
    who = ACCESS[request.method, exchange.operation]
    if who is Who.KEY:
        parts: Parts = request.app.state.parts
        exchange.caller = await who_calls(exchange.authorization, parts.keys, exchange.now, parts.catch_up)
    elif who is Who.OPERATOR or (who is Who.NEARBY and not _is_nearby(request)):
        raise OperationNotFound(NOT_FOUND)


NOT_FOUND = "There is no operation at this path. GET /openapi.json lists them."


def _is_nearby(request: Request) -> bool:
    exchange: Exchange = request.scope[EXCHANGE]
    if exchange.forwarded:
        return False
    # No address: a unix socket.
    return request.client is None or not ip_address(request.client.host).is_global
