"""Serves ``GET /v1/requests/{id}``, which explains a call to its own account; keeps what became of every call."""

from typing import Annotated

from router.api.exchange import Exchange
from router.api.operation import Operations, Who
from router.api.public.request import Private
from router.api.request_ids import RequestIdText, unknown
from router.api.structs import StructValue
from router.errors import NetworkNotAllowed
from router.explain.explanation import CompletedCall
from router.explain.receipts import ReceiptBuffer, find_call, may_be_unwritten
from router.explain.views import RequestOut, customer_view
from router.identity.scopes import Scope

operations = Operations("requests", who=Who.KEY)


def remember(exchange: Exchange, receipts: ReceiptBuffer) -> None:
    """Keep what became of a call whose key is known, and that a key was used; called for every exchange at its end."""
    trace, refusal = exchange.trace, exchange.refusal
    key = exchange.caller.key if exchange.caller is not None else trace.key if trace is not None else None
    # A key that is tried from a network that it does not have is not used: its last use says who uses it.
    if key is not None and not key.is_trial and not isinstance(refusal, NetworkNotAllowed):
        receipts.statistics.note_use(key.id, exchange.now, exchange.client_address, exchange.user_agent)
    if trace is None or trace.key is None:
        return
    if refusal is None:
        ended = CompletedCall(exchange.request_id, exchange.now, exchange.status, exchange.elapsed_ms, trace)
    else:
        ended = CompletedCall(
            exchange.request_id,
            exchange.now,
            exchange.status,
            exchange.elapsed_ms,
            trace,
            refusal.code,
            refusal.message,
            refusal.detail,
            getattr(refusal, "left_out", ()),
        )
    receipts.add(ended)


@operations.get("/v1/requests/{request_id}", verb="show", scope=Scope.USAGE_READ, summary="Explain a request")
async def retrieve_request(request: Private, request_id: RequestIdText) -> Annotated[RequestOut, StructValue()]:
    """Where a call went and why, its attempts, its price and its charge; of this account's calls alone."""
    now, context = request.exchange.now, request.context
    recorded = await find_call(context.db, request_id, context.receipts)
    if recorded is None or recorded.account_id != request.account_id:
        raise unknown(request_id, now)
    if recorded.explanation is None and may_be_unwritten(request_id, now):
        raise unknown(request_id, now)  # Another process has it still.
    return customer_view(recorded)
