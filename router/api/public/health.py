"""Answers probes: ``/health`` (this process lives) and ``/ready`` (it may be sent calls)."""

from typing import Literal

from fastapi import Request, Response

from router.api.exchange import EXCHANGE, Exchange
from router.api.forms import Answer
from router.api.operation import Operations, Who
from router.context import RouterContext

operations = Operations("probes", who=Who.ANYONE)


class HealthOut(Answer):
    """The process lives."""

    status: Literal["ok"] = "ok"


class ReadyOut(Answer):
    """Whether calls can be admitted, and which parts are missing for it."""

    status: Literal["ready", "unready"]
    missing: list[str]


@operations.get("/health", verb="health", name="health", summary="Liveness")
async def health() -> HealthOut:
    """200 while the process answers at all; says nothing of Postgres and Redis."""
    return HealthOut()


@operations.get("/ready", verb="ready", name="ready", summary="Readiness")
async def ready(request: Request, response: Response) -> ReadyOut:
    """200 when calls can be admitted; else 503 with what is missing, for the load balancer."""
    context: RouterContext = request.app.state.context
    exchange: Exchange = request.scope[EXCHANGE]
    missing = []
    if not (context.generation.is_ready and context.projection.is_connected):
        missing.append("billing store")
    if not context.keys.is_trusted(exchange.now):
        missing.append("keys")
    if missing:
        response.status_code = 503
        response.headers["retry-after"] = "1"
    return ReadyOut(status="unready" if missing else "ready", missing=missing)
