"""``POST /v1/quote``: the body of an embeddings call in, its price and its way out; nothing is held or charged."""

import asyncio

import msgspec
from fastapi import Request, Response

from billing.money import to_usd
from router.api.exchange import EXCHANGE, Exchange
from router.api.operation import Operations, Who
from router.api.public.call_headers import parse_call_headers
from router.context import RouterContext
from router.explain.views import ErrorOut, LicenseOut, PriceInForceOut
from router.quote import Quoted, TooLongInput, quote
from router.values import Lane, RawCall, Trace
from store.ids import EndpointId, PriceId, wire

operations = Operations("quotes", tag="Embeddings", who=Who.KEY)

_encode = msgspec.json.Encoder().encode


class ServingOut(msgspec.Struct, frozen=True):
    """An endpoint that would be asked, in this order; the next one only where the one before fails."""

    provider: str
    endpoint: str
    space: str


class QuoteOut(msgspec.Struct, frozen=True, kw_only=True):
    """USD as decimal text. ``exact``: the tokens were counted, and the call costs ``amount``; else it is the most.

    ``refused`` is the error that the call would be answered with; null: it would be sent. ``too_long`` is the first
    input that the model does not take whole (nothing is ever cut); ``lengths_known`` false: nobody could say.
    """

    object: str = "quote"
    model: str
    space: str
    lane: str
    inputs: int
    tokens: int | None
    exact: bool
    price: PriceInForceOut | None
    amount: str | None
    currency: str = "USD"
    license: LicenseOut
    serving: tuple[ServingOut, ...]
    too_long: TooLongInput | None
    lengths_known: bool
    refused: ErrorOut | None


@operations.post("/v1/quote", verb="create", summary="Price before running")
async def create_quote(request: Request) -> Response:
    """What the same body would cost at /v1/embeddings, and who would serve it."""
    exchange: Exchange = request.scope[EXCHANGE]
    context: RouterContext = request.app.state.context
    assert exchange.caller is not None, "an operation for keys was reached without one; this is a bug"
    now_s = asyncio.get_running_loop().time()
    call = RawCall(
        request_id=exchange.request_id,
        body=exchange.body,
        authorization=None,
        idempotency_key=None,
        now=exchange.now,
        deadline_at=now_s + context.call_deadline_s,
        client_gone=exchange.client_gone,
        lane=parse_call_headers(exchange.call_headers, 0.0)[0],
        trace=Trace(began=now_s),
    )
    quoted = await quote(call, exchange.caller, context)
    body = _encode(_out(quoted, call.lane))
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})


def _out(quoted: Quoted, lane: Lane) -> QuoteOut:
    found, decision, refused = quoted.quote, quoted.decision, quoted.refused
    price = None if found is None else found.price
    return QuoteOut(
        model=quoted.model.id,
        space=quoted.model.space,
        lane=lane.value,
        inputs=quoted.request.inputs,
        tokens=None if found is None else found.tokens_max,
        exact=found is not None and found.exact,
        price=None if price is None else PriceInForceOut(wire(PriceId, price.id), to_usd(price.nano_per_mtok)),
        amount=None if found is None else to_usd(found.amount_max),
        license=LicenseOut(decision.license, decision.allowed, decision.reasons, decision.attribution),
        serving=tuple(
            ServingOut(endpoint.provider_name, wire(EndpointId, endpoint.id), endpoint.space)
            for endpoint in (quoted.route.order if quoted.route is not None else ())
        ),
        too_long=quoted.too_long,
        lengths_known=quoted.lengths_known,
        refused=None if refused is None else ErrorOut(refused.code, refused.message),
    )
