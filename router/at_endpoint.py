"""One attempt at one endpoint: within the provider's grant, cut into parts that it takes, checked.

What health, the retry budget and the trace learn of it is written down here and nowhere else, however it ends. What
comes after it is :mod:`router.attempts`'s.
"""

import asyncio
from collections.abc import Iterator

import structlog

from catalog.values import Model
from providers.outcomes import (
    BadAnswer,
    CredentialRefused,
    Failure,
    GiveUp,
    Misconfigured,
    PassedOver,
    Quarantine,
    SpaceMismatch,
    TimedOut,
    TooLong,
    TryLater,
    Warming,
)
from providers.protocol import Attempt, Vectors
from router.attempts import Try
from router.check import check
from router.failures import Failures
from router.outbound import Errand, Outbound
from router.pacing import is_paced
from router.splitting import Joined, Part, is_too_large, parts_of
from router.values import EmbedRequest, Endpoint, Lane, Trace, Tried
from store.ids import EndpointId, RequestId, wire

log = structlog.get_logger("router.dispatch")

# Parts of one attempt under way at once.
PARTS_AT_ONCE = 8
PAUSE_S = 1.0
# An answer that fails our checks is worse than none.
BAD_ANSWER_WEIGHS = 3


Won = tuple[Vectors, float, Try]


async def alone(errand: Errand, step: Try) -> Won | Failures:
    """One attempt as a value: the answer with the seconds that it took, or its failure in a list of one."""
    try:
        return *await at_endpoint(errand, step), step
    except Failure as failure:
        return [(step.endpoint, failure)]


async def at_endpoint(errand: Errand, step: Try) -> tuple[Vectors, float]:
    """A checked answer of the step's endpoint, and the seconds that it took. Raises Failure."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    endpoint, tried, until = step.endpoint, errand.trace.tried, began + step.limit_s
    attempt = attempt_at(endpoint, errand.request, errand.model, errand.id, errand.lane)
    parts: list[Part] | None = None
    if is_too_large(endpoint, attempt.inputs, errand.tokens_max):
        parts = parts_of(attempt, endpoint, errand.model.special_tokens)
    try:
        if is_paced(endpoint):
            vectors = await _paced(errand, step, attempt, parts, until)
        else:
            vectors = await _send(errand, endpoint, attempt, parts, PARTS_AT_ONCE, until)
    except Failure as failure:
        tried.append(_tried(step, began, loop.time(), errand.trace, type(failure).__name__, failure.message))
        raise
    except BaseException:
        tried.append(_tried(step, began, loop.time(), errand.trace, "canceled"))
        raise
    now = loop.time()
    tried.append(_tried(step, began, now, errand.trace, "answered"))
    return vectors, now - began


def attempt_at(
    endpoint: Endpoint, request: EmbedRequest, model: Model, request_id: RequestId, lane: Lane = Lane.INTERACTIVE
) -> Attempt:
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
        lane="batch" if lane is Lane.BATCH else "interactive",
    )


def _dimensions(endpoint: Endpoint, request: EmbedRequest, model: Model) -> int | None:
    """What to ask for: nothing where the model's own width is meant, since some providers refuse the field."""
    if endpoint.asks_dimensions:
        return request.dimensions or model.dimensions
    return None if request.dimensions == model.dimensions else request.dimensions


async def _paced(errand: Errand, step: Try, attempt: Attempt, parts: list[Part] | None, until: float) -> Vectors:
    """Send within what the provider grants us: taken for all parts together, and given back however it ends."""
    pacer, requests = errand.outbound.pacer, 1 if parts is None else len(parts)
    slots = min(PARTS_AT_ONCE, requests)
    lease = await pacer.take(
        step.endpoint, errand.id, requests=requests, tokens=errand.tokens_max, slots=slots, limit_s=step.limit_s
    )
    used_tokens: int | None = None
    try:
        vectors = await _send(errand, step.endpoint, attempt, parts, lease.slots, until)
        used_tokens = vectors.tokens
    finally:
        pacer.give(lease, used_tokens)
    return vectors


async def _send(
    errand: Errand, endpoint: Endpoint, attempt: Attempt, parts: list[Part] | None, at_once: int, until: float
) -> Vectors:
    """A checked answer of the whole, in one request or in parts; health is told of its start and of its one end."""
    loop, outbound = asyncio.get_running_loop(), errand.outbound
    began = loop.time()
    if not outbound.health.starts(endpoint.id, began):
        raise PassedOver("another call is trying it", retry_after_s=PAUSE_S)
    try:
        if parts is None:
            vectors = await _embed(errand, endpoint, attempt, until - began)
        else:
            vectors = await _in_parts(errand, endpoint, parts, at_once, until)
    except Failure as failure:
        _learn(outbound, endpoint, failure, loop.time())
        raise
    except BaseException:
        outbound.health.given_up(endpoint.id)
        raise
    now = loop.time()
    outbound.health.succeeded(endpoint.id, now, now - began, attempt.inputs, errand.tokens_max)
    outbound.budgets.answered(endpoint.id)
    if outbound.refused:
        outbound.refused.discard(endpoint.id)
    return vectors


async def _embed(errand: Errand, endpoint: Endpoint, attempt: Attempt, limit_s: float) -> Vectors:
    """One request to the provider, its answer checked."""
    vectors = await errand.outbound.providers[endpoint.provider_id].embed(attempt, limit_s)
    if endpoint.upstream_space is not None and vectors.space != endpoint.upstream_space:
        raise SpaceMismatch(
            f"it answers from the space {vectors.space}, and {endpoint.upstream_space} was tested",
            detail="nothing of it was delivered",
        )
    check(vectors, attempt, errand.model)
    return vectors


async def _in_parts(errand: Errand, endpoint: Endpoint, parts: list[Part], at_once: int, until: float) -> Vectors:
    """All parts at one endpoint, ``at_once`` of them under way; the first failure cancels the rest and is raised."""
    joined = Joined(errand.request.inputs)
    waiting: Iterator[Part] = iter(parts)

    async def work() -> None:
        for part in waiting:
            left_s = until - asyncio.get_running_loop().time()
            if left_s <= 0:
                raise TimedOut("not all parts of it were answered in time")
            try:
                joined.put(part.first, await _embed(errand, endpoint, part.attempt, left_s))
            except TooLong as long:
                raise TooLong(
                    index=part.first + long.index, tokens=long.tokens, limit=long.limit, detail=long.detail
                ) from long

    failed: BaseExceptionGroup[Failure] | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except* Failure as failures:
        failed = failures
    if failed is not None:
        raise _first(failed)
    return joined.vectors()


def _first(failed: BaseExceptionGroup[Failure]) -> Failure:
    """One failure for the whole: the caller's fault where there is one, else the first."""
    failures = [failure for failure in failed.exceptions if isinstance(failure, Failure)]
    return next((failure for failure in failures if isinstance(failure, GiveUp)), failures[0])


def _tried(step: Try, began: float, now: float, trace: Trace, outcome: str, reason: str = "") -> Tried:
    return Tried(step.endpoint, step.why, (began - trace.began) * 1000, (now - began) * 1000, outcome, reason)


def _learn(outbound: Outbound, endpoint: Endpoint, failure: Failure, now: float) -> None:
    """Health and pacing are different things: only what counts against health may open a breaker."""
    health = outbound.health
    if isinstance(failure, GiveUp):
        health.given_up(endpoint.id)
        return
    outbound.budgets.failed(endpoint.id)
    match failure:
        case Quarantine():
            if isinstance(failure, CredentialRefused):
                _alarm(outbound, endpoint, failure)
            health.quarantined(endpoint.id, failure.message or "it is quarantined")
        case Warming():
            health.warming(endpoint.id, now, failure.retry_after_s or PAUSE_S)
        case TryLater():
            health.paused(endpoint.id, now, failure.retry_after_s)
        case Misconfigured():
            _alarm(outbound, endpoint, failure)
            health.failed(endpoint.id, now, failure.message)
        case BadAnswer():
            health.failed(endpoint.id, now, failure.message, BAD_ANSWER_WEIGHS)
        case _:
            health.failed(endpoint.id, now, failure.message)


def _alarm(outbound: Outbound, endpoint: Endpoint, failure: CredentialRefused | Misconfigured) -> None:
    """Our key or our credit at a provider is refused, or not to be had: ops are told once, not once per call."""
    if endpoint.id in outbound.refused:
        return
    outbound.refused.add(endpoint.id)
    if isinstance(failure, Misconfigured):
        log.error("provider_unusable", provider=endpoint.provider_name, reason=failure.detail)
        return
    outbound.counts.credentials_refused[endpoint.provider_name] += 1
    log.error(
        "provider_credential_refused",
        provider=endpoint.provider_name,
        endpoint=wire(EndpointId, endpoint.id),
        status=failure.status,
    )
