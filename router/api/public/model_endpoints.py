"""Serves ``GET /v1/models/{id}/endpoints``: who serves a model, at what price, how fast and how available. No key."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from catalog.values import Model
from router.api.fields import EndpointIdText, Instant
from router.api.forms import Answer
from router.api.operation import Operations, Who
from router.api.public.models import Pricing, find_model, list_pricing
from router.api.public.request import ByVisitor
from router.context import RouterContext
from router.errors import StoreUnavailable
from router.statistics.counts import CALLS_MIN, Size
from router.statistics.read import EndpointStatistics
from router.statistics.snapshot import StatisticsSnapshot
from router.values import Endpoint, EndpointState
from store.postgres import STORE_FAULTS

operations = Operations("models", who=Who.VISITOR)
SHOWN = frozenset({EndpointState.LIVE, EndpointState.DRAINING, EndpointState.QUARANTINED})


class LatencyOut(Answer):
    """How long answered attempts of one size took, in milliseconds, over 24 hours; null: too few calls."""

    size: Size = Field(description="small: up to 256 tokens; medium: up to 4,096; large: more.")
    p50_ms: float | None
    p95_ms: float | None
    calls: int


class AvailabilityOut(Answer):
    """The share of attempts that ended well, customers' faults left out; null: too few calls."""

    last_24h: float | None
    last_7d: float | None
    last_30d: float | None
    attempts_24h: int
    attempts_30d: int


class DataUseOut(Answer):
    """What the provider does with inputs."""

    collects_data: bool
    retention_days: int | None = Field(description="0: nothing is kept; null: not stated.")


class EndpointLimitsOut(Answer):
    """What one call of the endpoint takes; larger calls are cut and joined. Null: no limit is known."""

    max_inputs: int | None
    max_tokens: int | None


class SpaceCheckOut(Answer):
    """The latest verification that the endpoint serves the model's vector space."""

    at: Instant
    verdict: Literal["same_space", "another_space", "no_answer", "no_reference"]


class ModelEndpointOut(Answer):
    """A model at one provider."""

    id: EndpointIdText
    provider: str
    regions: list[str]
    state: str = Field(description="live, draining, or quarantined: out of service until it is verified.")
    space: str
    numerics: str | None
    latency: list[LatencyOut]
    availability: AvailabilityOut
    data: DataUseOut
    limits: EndpointLimitsOut
    last_check: SpaceCheckOut | None
    object: Literal["model.endpoint"] = "model.endpoint"


class ModelEndpointsOut(Answer):
    """Who serves a model. What is null is not known: ``calls_min`` calls are needed to say it."""

    model: str
    pricing: Pricing | None = Field(description="The list price: the same at every endpoint.")
    data: list[ModelEndpointOut]
    as_of: Instant | None = Field(description="Until when the statistics are known; null: they never were.")
    late: bool = Field(description="The statistics are minutes behind, and say nothing of now.")
    calls_min: int
    object: Literal["list"] = "list"


@operations.get(
    "/v1/models/{model_id:path}/endpoints",
    verb="list-endpoints",
    name="list_model_endpoints",
    summary="List a model's endpoints",
)
async def list_model_endpoints(request: ByVisitor, model_id: str) -> ModelEndpointsOut:
    """Each provider of a model with price, region, latency by size of call, availability and data use; no key needed.

    Availability is the share of attempts that ended well, those left out that failed by a customer's fault.
    """
    model = find_model(model_id, request.context)
    return await model_endpoints(request.context, model, request.exchange.now)


async def model_endpoints(context: RouterContext, model: Model, now: datetime) -> ModelEndpointsOut:
    """The endpoints of a model as everybody may see them. Raises ``StoreUnavailable``."""
    try:
        known = await context.statistics.snapshot(context.db)
    except STORE_FAULTS as fault:
        raise StoreUnavailable(
            "Statistics cannot be read right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
        ) from fault
    shown = [one for one in context.endpoints.of_model(model) if one.state in SHOWN]
    return ModelEndpointsOut(
        model=model.id,
        pricing=list_pricing(model, context.prices, now),
        data=[_endpoint(endpoint, model, known) for endpoint in shown],
        as_of=known.state.as_of,
        late=known.state.is_late(now),
        calls_min=CALLS_MIN,
    )


def _endpoint(endpoint: Endpoint, model: Model, known: StatisticsSnapshot) -> ModelEndpointOut:
    statistics, check = known.of(endpoint.id), known.checks.get(endpoint.id)
    return ModelEndpointOut(
        id=endpoint.id,
        provider=endpoint.provider_name,
        regions=list(endpoint.regions),
        state=endpoint.state.value,
        space=endpoint.space,
        numerics=endpoint.numerics or model.numerics,
        latency=[_latency(statistics, size) for size in Size],
        availability=AvailabilityOut(
            last_24h=statistics.availability("24h"),
            last_7d=statistics.availability("7d"),
            last_30d=statistics.availability("30d"),
            attempts_24h=statistics.total("24h").judged,
            attempts_30d=statistics.total("30d").judged,
        ),
        data=DataUseOut(collects_data=endpoint.collects_data, retention_days=endpoint.retention_days),
        limits=EndpointLimitsOut(max_inputs=endpoint.max_batch, max_tokens=endpoint.max_batch_tokens),
        last_check=None if check is None else SpaceCheckOut.model_validate({"at": check.at, "verdict": check.verdict}),
    )


def _latency(statistics: EndpointStatistics, size: Size) -> LatencyOut:
    counts = statistics.counts.get(("24h", size))
    return LatencyOut(
        size=size,
        p50_ms=statistics.latency_ms("24h", 0.5, size),
        p95_ms=statistics.latency_ms("24h", 0.95, size),
        calls=0 if counts is None else sum(counts.latency),
    )
