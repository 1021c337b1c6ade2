"""``POST /v1/stripe/webhook``: takes Stripe's events. It verifies, stores and answers; jobs act."""

from typing import Literal

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe import inbox
from billing.stripe.events import BODY_BYTES_MAX, read_notice
from billing.stripe.signature import find_fault
from router.admin.payments import require_stripe
from router.api.exchange import EXCHANGE, Exchange
from router.api.forms import Answer
from router.api.operation import Operations, Who
from router.api.public.postgres import ask_postgres
from router.context import RouterContext
from router.errors import BodyTooLarge, InvalidRequest

operations = Operations("webhooks", tag="Payments", who=Who.ANYONE)


class ReceivedOut(Answer):
    """The event is stored; ``duplicate``: it was before."""

    received: Literal[True] = True
    duplicate: bool


@operations.post(
    "/v1/stripe/webhook", verb="receive", name="receive_stripe_event", summary="Stripe's events",
    body_bytes_max=BODY_BYTES_MAX,
)  # fmt: skip
async def receive(request: Request) -> ReceivedOut:
    """Store an event that Stripe has signed, once. Whoever is not Stripe is refused, and nothing is stored."""
    exchange: Exchange = request.scope[EXCHANGE]
    context: RouterContext = request.app.state.context
    config = require_stripe(context.stripe)
    if len(exchange.body) > BODY_BYTES_MAX:
        raise BodyTooLarge(f"The body is larger than {BODY_BYTES_MAX} bytes.")
    header = ",".join(request.headers.getlist("stripe-signature"))
    if fault := find_fault(header, exchange.body, config.webhook_secrets, exchange.now.timestamp()):
        raise InvalidRequest(fault.value, param="Stripe-Signature")
    try:
        notice = read_notice(exchange.body)
    except ValueError as problem:
        raise InvalidRequest(f"The body is {problem}.") from None
    if notice.livemode is not config.livemode:
        raise InvalidRequest("The event is of another mode: test and live payments are never mixed.", param="livemode")

    async def store(tx: AsyncConnection) -> bool:
        return await inbox.store(tx, notice, "webhook")

    return ReceivedOut(duplicate=not await ask_postgres(context, store))
