"""``/health`` (this process lives), ``/ready`` (it may be sent calls), ``/metrics`` (for a scraper nearby)."""

import msgspec
from fastapi import Request, Response

from router.api.exchange import EXCHANGE, Exchange
from router.api.operation import Operations, Who
from router.context import RouterContext

operations = Operations("probes", who=Who.ANYONE)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@operations.get("/health", verb="health", name="health", summary="Liveness")
async def health() -> Response:
    """200 while the process answers at all; says nothing of Postgres and Redis."""
    return Response(b'{"status":"ok"}', media_type="application/json")


@operations.get("/ready", verb="ready", name="ready", summary="Readiness")
async def ready(request: Request) -> Response:
    """200 when calls can be admitted; else 503 with what is missing, for the load balancer."""
    context: RouterContext = request.app.state.context
    exchange: Exchange = request.scope[EXCHANGE]
    missing = []
    if not (context.generation.is_ready and context.projection.is_connected):
        missing.append("billing store")
    if not context.keys.is_trusted(exchange.now):
        missing.append("keys")
    body = msgspec.json.encode({"status": "unready" if missing else "ready", "missing": missing})
    headers = {"retry-after": "1"} if missing else {}
    return Response(body, status_code=503 if missing else 200, media_type="application/json", headers=headers)


@operations.get("/metrics", verb="metrics", name="metrics", summary="Prometheus metrics", who=Who.NEARBY)
async def metrics(request: Request) -> Response:
    """Prometheus' text format; only for callers in our own network."""
    return Response(request.app.state.metrics(), media_type=METRICS_TYPE)
