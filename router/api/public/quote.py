"""Serves ``POST /v1/quote``: what a call would cost and who would answer it; nothing is held or charged."""

import asyncio
from typing import Annotated, Literal

from pydantic import Field

from billing.money import to_usd
from router.api.fields import EndpointIdText
from router.api.forms import Answer
from router.api.operation import Operations, Who
from router.api.public.call_headers import parse_call_headers
from router.api.public.embeddings_declaration import BODY, TIER
from router.api.public.request import ByKey
from router.api.structs import StructValue
from router.explain.price_view import PriceInForceOut, price_out
from router.explain.views import ErrorOut, LicenseOut
from router.quote import QuoteResult, TooLongInput, quote
from router.values import Lane, RawCall, Trace

operations = Operations("quotes", tag="Embeddings", who=Who.KEY)


class ServingOut(Answer):
    """An endpoint that the call would be sent to; the next one only where the one before fails."""

    provider: str
    endpoint: EndpointIdText
    space: str


class QuoteOut(Answer):
    """What the call would cost, in USD as decimal text."""

    object: Literal["quote"] = "quote"
    model: str
    space: str
    lane: str
    inputs: int
    tokens: int | None
    exact: bool = Field(description="The tokens were counted, and the call costs the amount; else it is the most.")
    price: Annotated[PriceInForceOut, StructValue()] | None
    amount: str | None
    currency: Literal["USD"] = "USD"
    license: Annotated[LicenseOut, StructValue()]
    serving: tuple[ServingOut, ...]
    too_long: Annotated[TooLongInput, StructValue()] | None = Field(
        description="The first input that the model does not take whole; nothing is ever cut."
    )
    lengths_known: bool = Field(description="false: nobody could say whether an input is too long.")
    refused: Annotated[ErrorOut, StructValue()] | None = Field(
        description="The error that the call would be answered with; null: it would be sent."
    )


@operations.post(
    "/v1/quote", verb="create", summary="Price before running", openapi={"requestBody": BODY, "parameters": [TIER]}
)
async def create_quote(request: ByKey) -> QuoteOut:
    """What the same body would cost at /v1/embeddings, and who would serve it."""
    exchange, context = request.exchange, request.context
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
    return _out(await quote(call, request.caller, context), call.lane)


def _out(quoted: QuoteResult, lane: Lane) -> QuoteOut:
    found, decision, refused = quoted.quote, quoted.decision, quoted.refused
    price = None if found is None else found.price
    return QuoteOut(
        model=quoted.model.id,
        space=quoted.model.space,
        lane=lane.value,
        inputs=quoted.request.inputs,
        tokens=None if found is None else found.tokens_max,
        exact=found is not None and found.exact,
        price=None if price is None else price_out(price.id, price.nano_per_mtok, price.agreement),
        amount=None if found is None else to_usd(found.amount_max),
        license=LicenseOut(decision.license, decision.allowed, decision.reasons, decision.attribution),
        serving=tuple(
            ServingOut(provider=endpoint.provider_name, endpoint=endpoint.id, space=endpoint.space)
            for endpoint in (quoted.route.order if quoted.route is not None else ())
        ),
        too_long=quoted.too_long,
        lengths_known=quoted.lengths_known,
        refused=None if refused is None else ErrorOut(refused.code, refused.message),
    )
