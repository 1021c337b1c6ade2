"""Serves ``GET /v1/requests/{id}``, which explains a call to its own account; keeps what became of every call."""

from datetime import datetime
from typing import Annotated, TypeAlias

from router.api.exchange import Exchange
from router.api.fields import TextValue
from router.api.operation import Operations, Who
from router.api.public.request import Private
from router.api.structs import StructValue
from router.errors import NotFound
from router.explain.explanation import CompletedCall
from router.explain.receipts import KEPT_DAYS, ReceiptBuffer, find_call, may_be_unwritten
from router.explain.views import RequestOut, customer_view
from router.identity.scopes import Scope
from store.ids import RequestId, parse, wire

operations = Operations("requests", who=Who.KEY)


def remember(exchange: Exchange, receipts: ReceiptBuffer) -> None:
    """Keep what became of a call whose key is known, and that a key was used; called for every exchange at its end."""
    trace, refusal = exchange.trace, exchange.refusal
    key = exchange.caller.key if exchange.caller is not None else trace.key if trace is not None else None
    if key is not None:
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


def request_of(text: str) -> RequestId:
    """The id in a path. Raises NotFound."""
    try:
        return RequestId(parse(RequestId, text))
    except ValueError:
        raise NotFound(
            "That is not the id of a request: they look like req_0198…, and every answer has its own in x-request-id.",
            param="request_id",
        ) from None


# Raises NotFound itself: where else ids of requests are found is worth a sentence.
RequestIdText: TypeAlias = Annotated[
    RequestId,
    TextValue(request_of, lambda value: wire(RequestId, value), "an id such as req_…", pattern="^req_[0-9a-f]{32}$"),
]


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


def unknown(request_id: RequestId, now: datetime) -> NotFound:
    """The same whether there is no such call, or it is another account's: only the id's own age tells them apart."""
    if may_be_unwritten(request_id, now):
        return NotFound("This request is not recorded yet. Try again in a second.", param="request_id", retry_after_s=1)
    return NotFound(
        f"There is no record of this request in this account. Explanations are kept for {KEPT_DAYS} days, charges for "
        "good; of many refused or free requests only some are kept.",
        param="request_id",
    )
