"""Dispatch: the only long wait of the line. Tries the route's endpoints in order until one gives a checked answer.

Each attempt carries what is left of the call's deadline. What a failure means for the endpoint and for the next attempt
is read off its class (:mod:`providers.outcomes`); a bad answer is a provider's failure and is never delivered.
"""

import asyncio
from collections.abc import Mapping
from typing import Literal

import msgspec

from billing.values import Hold
from catalog.values import Model
from providers.outcomes import CallerFault, Failure, GiveUp, Quarantine, SpaceMismatch, TimedOut, TooLong, TryLater
from providers.protocol import Attempt, FloatMatrix, Provider, Vectors
from router import errors
from router.check import check
from router.health import Health
from router.values import EmbedRequest, Endpoint, Route, Trace, Tried
from store.ids import ProviderId, RequestId, wire

ATTEMPTS_MAX = 3


class Delivery(msgspec.Struct, frozen=True):
    """A checked answer. ``matrix`` is [inputs, dimensions] float32; ``tokens`` is None where the provider gave none."""

    matrix: FloatMatrix
    tokens: int | None
    exact: bool
    endpoint: Endpoint
    attempts: int
    upstream_s: float


async def dispatch(
    hold: Hold,
    route: Route,
    request: EmbedRequest,
    model: Model,
    providers: Mapping[ProviderId, Provider],
    health: Health,
    deadline_at: float,
    trace: Trace,
) -> Delivery:
    """Get a checked answer from the first endpoint that gives one, within ``deadline_at`` of the loop's clock.

    Raises InvalidRequest for what the provider finds wrong in the input, AllAttemptsFailed, UpstreamInvalid,
    DeadlinePassed.
    """
    loop = asyncio.get_running_loop()
    failures: list[tuple[Endpoint, Failure]] = []
    for number, endpoint in enumerate(route.order[:ATTEMPTS_MAX], start=1):
        left_s = deadline_at - loop.time()
        if left_s <= 0:
            break
        began = loop.time()
        health.starts(endpoint.id)
        try:
            attempt = attempt_at(endpoint, request, model, hold.id)
            vectors = await providers[endpoint.provider_id].embed(attempt, left_s)
            if endpoint.upstream_space is not None and vectors.space != endpoint.upstream_space:
                raise _another_space(endpoint, vectors)
            check(vectors, attempt, model)
        except Failure as failure:
            _learn(health, endpoint, failure, loop.time())
            failures.append((endpoint, failure))
            trace.tried.append(_tried(endpoint, number, began, trace, loop.time(), failure))
            if isinstance(failure, GiveUp):
                break
            continue
        except BaseException:
            health.given_up(endpoint.id)
            raise
        health.succeeded(endpoint.id)
        trace.tried.append(_tried(endpoint, number, began, trace, loop.time()))
        return _delivery(vectors, endpoint, number, loop.time() - began)
    raise _error_for(failures)


async def count(
    route_order: tuple[Endpoint, ...],
    request: EmbedRequest,
    model: Model,
    providers: Mapping[ProviderId, Provider],
    request_id: RequestId,
    deadline_s: float,
) -> int | None:
    """Exact tokens of the inputs by the model's own tokenizer, from the first endpoint that can tell; else None."""
    for endpoint in route_order[:ATTEMPTS_MAX]:
        try:
            attempt = attempt_at(endpoint, request, model, request_id)
            counted = await providers[endpoint.provider_id].count(attempt, deadline_s)
        except Failure:
            continue
        if counted is not None:
            return counted
    return None


def attempt_at(endpoint: Endpoint, request: EmbedRequest, model: Model, request_id: RequestId) -> Attempt:
    """The request as this endpoint gets it: the model's prompt as a prefix, unless the provider has input types."""
    prefix = ""
    if request.input_type is not None and not endpoint.native_input_type:
        prefix = model.prompts.get(request.input_type, "")
    return Attempt(
        request_id=wire(RequestId, request_id),
        upstream_model=endpoint.upstream_model,
        texts=request.texts,
        token_ids=request.token_ids,
        dimensions=_dimensions(endpoint, request, model),
        input_type=request.input_type if endpoint.native_input_type else None,
        prefix=prefix,
        asks_base64=endpoint.asks_base64,
    )


def _dimensions(endpoint: Endpoint, request: EmbedRequest, model: Model) -> int | None:
    """What to ask for: nothing where the model's own width is meant, since some providers refuse the field."""
    if endpoint.asks_dimensions:
        return request.dimensions or model.dimensions
    return None if request.dimensions == model.dimensions else request.dimensions


def _another_space(endpoint: Endpoint, vectors: Vectors) -> SpaceMismatch:
    return SpaceMismatch(
        f"it answers from the space {vectors.space}, and {endpoint.upstream_space} was tested",
        detail="nothing of it was delivered",
    )


def _delivery(vectors: Vectors, endpoint: Endpoint, attempts: int, upstream_s: float) -> Delivery:
    return Delivery(vectors.matrix, vectors.tokens, vectors.exact, endpoint, attempts, upstream_s)


def _tried(
    endpoint: Endpoint, number: int, began: float, trace: Trace, now: float, failure: Failure | None = None
) -> Tried:
    outcome = "answered" if failure is None else type(failure).__name__
    why: Literal["first", "next"] = "first" if number == 1 else "next"
    reason = "" if failure is None else failure.message
    return Tried(endpoint, why, (began - trace.began) * 1000, (now - began) * 1000, outcome, reason)


def _learn(health: Health, endpoint: Endpoint, failure: Failure, now: float) -> None:
    match failure:
        case Quarantine():
            health.quarantined(endpoint.id, failure.message or "it is quarantined")
        case TryLater():
            health.paused(endpoint.id, now, failure.retry_after_s or 1.0)
        case GiveUp():
            health.given_up(endpoint.id)
        case _:
            health.failed(endpoint.id, now, failure.message)


def _error_for(failures: list[tuple[Endpoint, Failure]]) -> errors.Refusal:
    """The error for a call whose every attempt failed; nothing of a provider's own words gets out."""
    if failures and isinstance(failures[-1][1], CallerFault):
        fault = failures[-1][1]
        if isinstance(fault, TooLong):
            raise errors.InputTooLong(
                f"{fault.message} Please reduce its length.",
                param="input",
                details={"index": fault.index, "tokens": fault.tokens, "limit": fault.limit},
                detail=fault.detail,
            )
        return errors.InvalidRequest(
            fault.message or "The provider refuses this input.", param="input", detail=fault.detail
        )
    details: dict[str, object] = {
        "attempts": [{"provider": e.provider_name, "outcome": type(f).__name__} for e, f in failures]
    }
    detail = "; ".join(f"{e.provider_name}: {type(f).__name__} {f.message} {f.detail}" for e, f in failures)
    if not failures or all(isinstance(f, TimedOut) for _, f in failures):
        return errors.DeadlinePassed(
            "No provider answered within the call's deadline. Nothing was charged.", details=details, detail=detail
        )
    if all(type(f).__name__ == "BadAnswer" for _, f in failures):
        return errors.UpstreamInvalid(
            "Every provider's answer failed our checks. Nothing was charged.", details=details, detail=detail
        )
    waits = [f.retry_after_s for _, f in failures if f.retry_after_s]
    return errors.AllAttemptsFailed(
        "Every provider of this model failed. Nothing was charged; try again in a moment.",
        retry_after_s=min(waits, default=1.0),
        details=details,
        detail=detail,
    )
