"""``GET /v1/requests/{id}``: what became of a call, for its own account; and the hook that keeps every call's trace."""

from datetime import datetime

import msgspec
from fastapi import Request, Response

from router.api.exchange import EXCHANGE, Exchange
from router.api.operation import Operations, Who
from router.context import RouterContext
from router.errors import NotFound
from router.explain.explanation import Ended
from router.explain.receipts import KEPT_DAYS, Receipts, is_young, look_up
from router.explain.views import customer_view
from store.ids import RequestId, parse

operations = Operations("requests", who=Who.KEY)

_encode = msgspec.json.Encoder().encode


def remember(exchange: Exchange, receipts: Receipts) -> None:
    """Keep what became of a call whose key is known; called for every exchange when it is over."""
    trace, refusal = exchange.trace, exchange.refusal
    if trace is None or trace.key is None:
        return
    if refusal is None:
        ended = Ended(exchange.request_id, exchange.now, exchange.status, exchange.elapsed_ms, trace)
    else:
        ended = Ended(
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


@operations.get("/v1/requests/{request_id}", verb="show", summary="Explain a request")
async def retrieve_request(request: Request, request_id: str) -> Response:
    """Where a call went and why, its attempts, its price and its charge; of this account's calls alone."""
    exchange: Exchange = request.scope[EXCHANGE]
    context: RouterContext = request.app.state.context
    assert exchange.caller is not None, "an operation for keys was reached without one; this is a bug"
    asked = request_of(request_id)
    recorded = await look_up(context.db, asked, context.receipts)
    if recorded is None or recorded.account_id != exchange.caller.key.account_id:
        raise unknown(asked, exchange.now)
    if recorded.explanation is None and is_young(asked, exchange.now):
        raise unknown(asked, exchange.now)  # Another process has it still.
    body = _encode(customer_view(recorded))
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})


def request_of(text: str) -> RequestId:
    """The id in a path. Raises NotFound."""
    try:
        return RequestId(parse(RequestId, text))
    except ValueError:
        raise NotFound(
            "That is not the id of a request: they look like req_0198…, and every answer has its own in x-request-id.",
            param="request_id",
        ) from None


def unknown(request_id: RequestId, now: datetime) -> NotFound:
    """The same whether there is no such call, or it is another account's: only the id's own age tells them apart."""
    if is_young(request_id, now):
        return NotFound("This request is not recorded yet. Try again in a second.", param="request_id", retry_after_s=1)
    return NotFound(
        f"There is no record of this request in this account. Explanations are kept for {KEPT_DAYS} days, charges for "
        "good; of many refused requests in one second only some are kept.",
        param="request_id",
    )
