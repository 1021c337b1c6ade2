"""Answers a scraper with the metrics of this process: what was charged, per model and endpoint, so inside alone."""

from fastapi import Request, Response

from router.api.operation import Operations, Who

MEDIA = "text/plain; version=0.0.4; charset=utf-8"

operations = Operations("metrics", tag="Probes", who=Who.NEARBY)


class MetricsResponse(Response):
    """Prometheus' text format."""

    media_type = MEDIA


@operations.get("/metrics", verb="metrics", name="metrics", summary="Prometheus metrics")
async def metrics(request: Request) -> MetricsResponse:
    """The metrics of this process, in Prometheus' text format; only for callers in our own network."""
    return MetricsResponse(request.app.state.metrics())
