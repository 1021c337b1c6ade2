"""Serves ``POST /v1/embeddings``, the hot operation, as plain ASGI without FastAPI or Pydantic.

It runs to its end whether or not the client still waits: the server does not cancel it when a client hangs up, and the
line asks ``client_gone`` once, before the call is sent on. After that the answer is paid for, so it is charged.
"""

import asyncio

from router.api.exchange import Exchange, Send, deliver
from router.api.public.call_headers import applied_headers, parse_call_headers
from router.context import RouterContext
from router.pipeline import embed
from router.values import RawCall, Trace

PATH = "/v1/embeddings"


async def embeddings(exchange: Exchange, context: RouterContext, send: Send) -> None:
    """Run the pipeline and send its answer. Raises :class:`router.errors.Refusal`, before anything is sent."""
    exchange.operation = PATH
    now_s = asyncio.get_running_loop().time()
    exchange.trace = Trace(began=now_s)
    lane, wait_s = parse_call_headers(exchange.call_headers, context.call_deadline_s)
    exchange.applied_headers = applied_headers(lane, wait_s)
    call = RawCall(
        request_id=exchange.request_id,
        body=exchange.body,
        authorization=exchange.authorization,
        idempotency_key=exchange.idempotency_key,
        now=exchange.now,
        deadline_at=now_s + context.call_deadline_s,
        client_gone=exchange.client_gone,
        lane=lane,
        wait_s=wait_s,
        trace=exchange.trace,
        client_address=exchange.client_address,
    )
    answer = await embed(call, context)
    answer.headers.extend(exchange.applied_headers)
    exchange.summary = answer.summary
    await deliver(answer, send)
