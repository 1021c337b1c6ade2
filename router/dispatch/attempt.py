"""One attempt at one endpoint: within the provider's grant, cut into parts that it takes, checked.

What health, the retry budget and the trace learn of it is written down here and nowhere else, however it ends. What
comes after it is :mod:`router.dispatch.retries`'s.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
import structlog

from catalog.values import Model
from providers.outcomes import (
    BadAnswer,
    ConnectFailed,
    CredentialRefused,
    Failure,
    GiveUp,
    Misconfigured,
    ModelMissing,
    PassedOver,
    Quarantine,
    SpaceMismatch,
    TimedOut,
    TooLong,
    TryLater,
    Warming,
)
from providers.protocol import Attempt, Vectors
from router.dispatch.chunking import Chunk, Joined, chunks_of, is_too_large, tokens_in
from router.dispatch.provider_quota import Lease, has_quota
from router.dispatch.retries import AttemptRequest
from router.dispatch.state import CallDispatch, Outbound
from router.dispatch.validate import check
from router.routing.failures import Failures
from router.routing.health import PAUSE_S, Started
from router.values import AttemptRecord, EmbedRequest, Endpoint, Lane, QuarantineCause, Trace
from store.ids import EndpointId, RequestId, wire

log = structlog.get_logger("router.dispatch.dispatch")

# Parts of one attempt under way at once.
PARTS_AT_ONCE = 8
# An answer that fails our checks is worse than none.
BAD_ANSWER_WEIGHS = 3
# An attempt that could send for less than this part of its time says nothing of the endpoint when it is over.
MOST_OF_IT = 0.9
# Timers are not exact.
CLOCK_S = 0.01
# What is written down of an endpoint that a call's failure takes out of traffic.
QUARANTINE_CAUSES: Final[dict[type[Quarantine], QuarantineCause]] = {
    CredentialRefused: QuarantineCause.CREDENTIAL_REFUSED,
    ModelMissing: QuarantineCause.MODEL_MISSING,
    SpaceMismatch: QuarantineCause.SPACE_MISMATCH,
}

Won = tuple[Vectors, float, AttemptRequest]


class _Sent(msgspec.Struct):
    """How far an attempt has come.

    It may send from ``since`` to ``until``; ``requests`` may have reached the provider, ``answered`` of them were
    answered. ``in_turns``: it is more than a minute's grant, so that each part waits for its own.
    """

    started: Started
    since: float
    until: float
    requests: int = 0
    answered: int = 0
    in_turns: bool = False


async def alone(errand: CallDispatch, step: AttemptRequest) -> Won | Failures:
    """One attempt as a value: the answer with the seconds that it took, or its failure in a list of one."""
    try:
        return *await at_endpoint(errand, step), step
    except Failure as failure:
        return [(step.endpoint, failure)]


async def at_endpoint(errand: CallDispatch, step: AttemptRequest) -> tuple[Vectors, float]:
    """A checked answer of the step's endpoint, and the seconds that it took. Raises Failure."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    endpoint, tried = step.endpoint, errand.trace.tried
    attempt = attempt_at(endpoint, errand.request, errand.model, errand.id, errand.lane)
    parts: list[Chunk] | None = None
    if is_too_large(endpoint, attempt.inputs, errand.tokens_max):
        parts = chunks_of(attempt, endpoint, errand.model.special_tokens)
    try:
        vectors = await _send(errand, step, attempt, parts)
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
        dimensions=model.dimensions,
        input_type=request.input_type if endpoint.native_input_type else None,
        prefix=prefix,
        asks_base64=endpoint.asks_base64,
        lane="batch" if lane is Lane.BATCH else "interactive",
    )


async def _send(errand: CallDispatch, step: AttemptRequest, attempt: Attempt, parts: list[Chunk] | None) -> Vectors:
    """A checked answer of the whole, in one request or in parts; health is told of its start and of its one end."""
    loop, endpoint, health = asyncio.get_running_loop(), step.endpoint, errand.health
    now = loop.time()
    started = health.starts(endpoint.id, now)
    if started is None:
        raise PassedOver("another call is trying it", retry_after_s=PAUSE_S)
    sent = _Sent(started, now, now + step.limit_s)
    try:
        if has_quota(endpoint):
            vectors = await _paced(errand, step, attempt, parts, sent)
        else:
            vectors = await _all(errand, endpoint, attempt, parts, PARTS_AT_ONCE, sent)
    except Failure as failure:
        _learn(errand, step, failure, loop.time(), sent)
        raise
    except BaseException:
        health.given_up(endpoint.id, started)
        raise
    now = loop.time()
    took_s = None if sent.in_turns else now - sent.since
    health.succeeded(endpoint.id, now, took_s, attempt.inputs, errand.tokens_max, started)
    errand.budgets.answered(endpoint.id)
    if errand.outbound.refused:
        errand.outbound.refused.discard(endpoint.id)
    return vectors


async def _paced(
    errand: CallDispatch, step: AttemptRequest, attempt: Attempt, parts: list[Chunk] | None, sent: _Sent
) -> Vectors:
    """Send within what the provider grants us: taken for all parts together where a minute has room for them."""
    quota, endpoint, requests = errand.outbound.quota, step.endpoint, 1 if parts is None else len(parts)
    least_s = 0.0 if parts is None else quota.least_s(endpoint, requests, errand.tokens_max)
    if least_s >= step.limit_s:
        raise PassedOver("it grants us so much only over more time than the call has")
    if least_s > 0:
        sent.in_turns = True
        return await _all(errand, endpoint, attempt, parts, PARTS_AT_ONCE, sent)
    lease = await quota.take(
        endpoint,
        errand.id.hex,
        requests=requests,
        tokens=errand.tokens_max,
        slots=min(PARTS_AT_ONCE, requests),
        limit_s=step.limit_s,
    )
    sent.since = asyncio.get_running_loop().time()
    used_tokens: int | None = None
    try:
        vectors = await _all(errand, endpoint, attempt, parts, lease.slots, sent)
        used_tokens = None if vectors.guessed else vectors.tokens
    finally:
        quota.give(lease, used_tokens, sent.requests)
    return vectors


async def _all(
    errand: CallDispatch,
    endpoint: Endpoint,
    attempt: Attempt,
    parts: list[Chunk] | None,
    at_once: int,
    sent: _Sent,
) -> Vectors:
    if parts is None:
        return await _embed(errand, endpoint, attempt, sent)
    return await _in_parts(errand, endpoint, parts, at_once, sent)


async def _embed(errand: CallDispatch, endpoint: Endpoint, attempt: Attempt, sent: _Sent) -> Vectors:
    """One request to the provider, its answer checked."""
    left_s = sent.until - asyncio.get_running_loop().time()
    if left_s <= 0:
        raise TimedOut("not all of it was sent in time")
    sent.requests += 1
    try:
        vectors = await errand.outbound.providers[endpoint.provider_id].embed(attempt, left_s)
    except (ConnectFailed, PassedOver):
        sent.requests -= 1
        raise
    if endpoint.upstream_space is not None and vectors.space != endpoint.upstream_space:
        raise SpaceMismatch(
            f"it answers from the space {vectors.space}, and {endpoint.upstream_space} was tested",
            detail="nothing of it was delivered",
        )
    check(vectors, attempt, errand.model)
    sent.answered += 1
    return vectors


async def _in_turn(errand: CallDispatch, endpoint: Endpoint, part: Chunk, sent: _Sent) -> Vectors:
    """One part, once the provider's grant has room for it alone."""
    lease = await _turn(errand, endpoint, part, sent)
    one, used_tokens = _Sent(sent.started, sent.since, sent.until), None
    try:
        vectors = await _embed(errand, endpoint, part.attempt, one)
        used_tokens = vectors.tokens
    finally:
        sent.requests += one.requests
        sent.answered += one.answered
        errand.outbound.quota.give(lease, used_tokens, one.requests)
    return vectors


async def _turn(errand: CallDispatch, endpoint: Endpoint, part: Chunk, sent: _Sent) -> Lease:
    """Room for one part, waited for as long as the attempt's time allows."""
    loop, quota = asyncio.get_running_loop(), errand.outbound.quota
    lease_id, tokens = f"{errand.id.hex}:{part.first}", tokens_in(part, errand.model.special_tokens)
    while True:
        left_s = sent.until - loop.time()
        try:
            return await quota.take(endpoint, lease_id, requests=1, tokens=tokens, slots=1, limit_s=left_s)
        except PassedOver as full:
            wait_s = full.retry_after_s or PAUSE_S
            if wait_s >= left_s:
                if sent.requests:
                    raise TimedOut("what it grants us did not last for all of it") from full
                raise
            await asyncio.sleep(wait_s)


async def _in_parts(errand: CallDispatch, endpoint: Endpoint, parts: list[Chunk], at_once: int, sent: _Sent) -> Vectors:
    """All parts at one endpoint, ``at_once`` of them under way; the first failure cancels the rest and is raised."""
    joined = Joined(errand.request)
    waiting: Iterator[Chunk] = iter(parts)

    async def work() -> None:
        for part in waiting:
            try:
                if sent.in_turns:
                    vectors = await _in_turn(errand, endpoint, part, sent)
                else:
                    vectors = await _embed(errand, endpoint, part.attempt, sent)
            except TooLong as long:
                raise TooLong(
                    index=part.first + long.index, tokens=long.tokens, limit=long.limit, detail=long.detail
                ) from long
            joined.put(part.first, vectors)

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


def _tried(
    step: AttemptRequest, began: float, now: float, trace: Trace, outcome: str, reason: str = ""
) -> AttemptRecord:
    return AttemptRecord(step.endpoint, step.why, (began - trace.began) * 1000, (now - began) * 1000, outcome, reason)


def _learn(errand: CallDispatch, step: AttemptRequest, failure: Failure, now: float, sent: _Sent) -> None:
    """Health and pacing are different things: only what counts against health may open a breaker."""
    health, endpoint, started = errand.health, step.endpoint, sent.started
    if isinstance(failure, GiveUp):
        health.given_up(endpoint.id, started)
        return
    if not isinstance(failure, TryLater):
        errand.budgets.failed(endpoint.id, now)
    match failure:
        case Quarantine():
            cause, reason = QUARANTINE_CAUSES[type(failure)], failure.message or "it is quarantined"
            for_ops = f"CredentialRefused: {failure.detail}" if isinstance(failure, CredentialRefused) else ""
            is_news = health.quarantined(endpoint.id, cause, reason, started, for_ops)
            if is_news and isinstance(failure, CredentialRefused):
                _alarm(errand.outbound, endpoint, failure)
        case PassedOver():
            health.given_up(endpoint.id, started)
        case Warming():
            health.warming(endpoint.id, now, failure.retry_after_s or PAUSE_S, started)
        case TryLater():
            health.paused(endpoint.id, now, failure.retry_after_s, started)
        case Misconfigured():
            _alarm(errand.outbound, endpoint, failure)
            health.failed(endpoint.id, now, failure.message, started=started)
        case TimedOut() if sent.in_turns or sent.until - sent.since < MOST_OF_IT * step.limit_s:
            health.given_up(endpoint.id, started)  # Its time went by while it waited for the provider's grant.
        case TimedOut() if now > sent.until - CLOCK_S:
            is_failure = not (step.is_cut or sent.answered)
            size = errand.request.inputs, errand.tokens_max
            health.cut(endpoint.id, now, now - sent.since, *size, is_failure, started)
        case BadAnswer():
            health.failed(endpoint.id, now, failure.message, BAD_ANSWER_WEIGHS, started)
        case _:
            health.failed(endpoint.id, now, failure.message, started=started)


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
