"""Sends one attempt to one endpoint: within the provider's quota, cut into chunks that it takes, every answer checked.

Health, the retry budget and the trace learn of the attempt here and nowhere else, however it ends. What comes after it
is :mod:`router.dispatch.retries`'s decision.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
import structlog

from catalog.values import Model
from providers.outcomes import (
    BadAnswer,
    BeyondQuota,
    CallerFault,
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
from router.dispatch.chunking import Chunk, VectorJoiner, chunk_token_bound, is_too_large, split_attempt
from router.dispatch.provider_quota import Lease, has_quota
from router.dispatch.retries import AttemptRequest
from router.dispatch.state import CallDispatch, DispatchState
from router.dispatch.validate import validate_vectors
from router.routing.failures import Failures
from router.routing.health import PAUSE_S, CallStart
from router.values import AttemptRecord, EmbedRequest, Endpoint, Lane, QuarantineCause
from store.ids import EndpointId, RequestId, wire

log = structlog.get_logger("router.dispatch.dispatch")

# Chunks of one attempt under way at once.
CHUNKS_AT_ONCE = 8
# An answer that fails our checks is worse than none.
BAD_ANSWER_WEIGHT = 3
# An attempt that could send for less than this share of its time says nothing of the endpoint when it is over.
SENDING_SHARE_MIN = 0.9
# Timers are not exact.
CLOCK_S = 0.01
# What is written down of an endpoint that a call's failure takes out of traffic.
QUARANTINE_CAUSES: Final[dict[type[Quarantine], QuarantineCause]] = {
    CredentialRefused: QuarantineCause.CREDENTIAL_REFUSED,
    ModelMissing: QuarantineCause.MODEL_MISSING,
    SpaceMismatch: QuarantineCause.SPACE_MISMATCH,
}


class AttemptSuccess(msgspec.Struct, frozen=True):
    """The checked answer of an attempt, ``took_s`` seconds after it began."""

    vectors: Vectors
    took_s: float
    request: AttemptRequest


class _Progress(msgspec.Struct):
    """How far an attempt has come.

    It may send from ``sends_from`` to ``sends_until``; ``requests_sent`` may have reached the provider, and
    ``requests_answered`` of them were answered. ``leases_per_chunk``: the attempt is more than a minute's quota, so
    each chunk waits for its own lease.
    """

    start: CallStart
    sends_from: float
    sends_until: float
    requests_sent: int = 0
    requests_answered: int = 0
    leases_per_chunk: bool = False


async def send_attempt(call: CallDispatch, attempt_request: AttemptRequest) -> AttemptSuccess | Failures:
    """Send one attempt. Its failure is a value too: a list of one, as :func:`error_for` takes them."""
    loop, endpoint, health = asyncio.get_running_loop(), attempt_request.endpoint, call.health
    attempt = build_attempt(endpoint, call.request, call.model, call.id, call.lane)
    chunks: list[Chunk] | None = None
    if is_too_large(endpoint, attempt.inputs, call.tokens_max):
        chunks = split_attempt(attempt, endpoint, call.model.special_tokens)
    began = loop.time()
    start = health.start(endpoint.id, began)
    if start is None:
        passed_over = PassedOver("another call is trying it", retry_after_s=PAUSE_S)
        _record(call, attempt_request, began, began, "PassedOver", passed_over.message)
        return [(endpoint, passed_over)]
    progress = _Progress(start, began, began + attempt_request.limit_s)
    try:
        if has_quota(endpoint):
            vectors = await _send_within_quota(call, attempt_request, attempt, chunks, progress)
        elif chunks is None:
            vectors = await _send_request(call, endpoint, attempt, progress)
        else:
            vectors = await _send_chunks(call, endpoint, chunks, CHUNKS_AT_ONCE, progress)
    except Failure as failure:
        now = loop.time()
        _report_failure(call, attempt_request, failure, now, progress)
        _record(call, attempt_request, began, now, type(failure).__name__, failure.message)
        return [(endpoint, failure)]
    except BaseException:
        health.release(endpoint.id, start)
        _record(call, attempt_request, began, loop.time(), "canceled")
        raise
    now = loop.time()
    took_s = None if progress.leases_per_chunk else now - progress.sends_from
    health.record_success(endpoint.id, now, took_s, attempt.inputs, call.tokens_max, start)
    call.retry_budget.record_answer(endpoint.id)
    if call.state.refusing_endpoints:
        call.state.refusing_endpoints.discard(endpoint.id)
    _record(call, attempt_request, began, now, "answered")
    return AttemptSuccess(vectors, now - began, attempt_request)


def build_attempt(
    endpoint: Endpoint, request: EmbedRequest, model: Model, request_id: RequestId, lane: Lane = Lane.INTERACTIVE
) -> Attempt:
    """The request as this endpoint gets it: the model's prompt is a prefix, unless the provider has input types."""
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


async def _send_request(call: CallDispatch, endpoint: Endpoint, attempt: Attempt, progress: _Progress) -> Vectors:
    """Send one request to the provider and check its answer."""
    left_s = progress.sends_until - asyncio.get_running_loop().time()
    if left_s <= 0:
        raise TimedOut("not all of it was sent in time")
    progress.requests_sent += 1
    try:
        vectors = await call.state.providers[endpoint.provider_id].embed(attempt, left_s)
    except (ConnectFailed, PassedOver):
        progress.requests_sent -= 1
        raise
    except CallerFault as fault:
        _name_input(fault, attempt)
        raise
    if endpoint.upstream_space is not None and vectors.space != endpoint.upstream_space:
        raise SpaceMismatch(
            f"it answers from the space {vectors.space}, and {endpoint.upstream_space} was tested",
            detail="nothing of it was delivered",
        )
    validate_vectors(vectors, attempt, call.model)
    progress.requests_answered += 1
    return vectors


def _name_input(fault: CallerFault, attempt: Attempt) -> None:
    """Say which input a refusal is about: the one that the provider names, or the longest where it is about length."""
    if fault.index is not None and fault.index >= attempt.inputs:
        fault.index = None
    if fault.index is None and fault.about_length:
        inputs = attempt.texts if attempt.texts is not None else attempt.token_ids or []
        fault.index = max(range(len(inputs)), key=lambda index: len(inputs[index]))
        fault.message += " The longest of them is the likeliest."


async def _send_within_quota(
    call: CallDispatch,
    attempt_request: AttemptRequest,
    attempt: Attempt,
    chunks: list[Chunk] | None,
    progress: _Progress,
) -> Vectors:
    """Send within the provider's quota, which is leased for all chunks together where a minute has room for them."""
    quota, endpoint, requests = call.state.quota, attempt_request.endpoint, 1 if chunks is None else len(chunks)
    if chunks is not None:
        least_s = quota.min_duration_s(endpoint, requests, call.tokens_max)
        if least_s >= attempt_request.limit_s:
            raise BeyondQuota(
                "it grants us so much only over more time than the call has",
                least_s=least_s,
                limit_s=attempt_request.limit_s,
            )
        if least_s > 0:
            progress.leases_per_chunk = True
            return await _send_chunks(call, endpoint, chunks, CHUNKS_AT_ONCE, progress)
    lease = await quota.acquire(
        endpoint,
        call.id.hex,
        requests=requests,
        tokens=call.tokens_max,
        slots=min(CHUNKS_AT_ONCE, requests),
        limit_s=attempt_request.limit_s,
    )
    progress.sends_from = asyncio.get_running_loop().time()
    used_tokens: int | None = None
    try:
        if chunks is None:
            vectors = await _send_request(call, endpoint, attempt, progress)
        else:
            vectors = await _send_chunks(call, endpoint, chunks, lease.slots, progress)
        used_tokens = None if vectors.guessed else vectors.tokens
    finally:
        quota.release(lease, used_tokens, progress.requests_sent)
    return vectors


async def _send_chunks(
    call: CallDispatch, endpoint: Endpoint, chunks: list[Chunk], at_once: int, progress: _Progress
) -> Vectors:
    """Send all chunks, ``at_once`` of them under way; the first failure cancels the rest and is raised."""
    joined = VectorJoiner(call.request)
    waiting: Iterator[Chunk] = iter(chunks)

    async def work() -> None:
        for chunk in waiting:
            try:
                if progress.leases_per_chunk:
                    vectors = await _send_leased_chunk(call, endpoint, chunk, progress)
                else:
                    vectors = await _send_request(call, endpoint, chunk.attempt, progress)
            except TooLong as fault:
                raise TooLong(
                    index=chunk.first + fault.index, tokens=fault.tokens, limit=fault.limit, detail=fault.detail
                ) from fault
            except CallerFault as fault:
                if fault.index is not None:
                    fault.index += chunk.first
                raise
            joined.put(chunk.first, vectors)

    failures: BaseExceptionGroup[Failure] | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except* Failure as raised:
        failures = raised
    if failures is not None:
        raise _decisive_failure(failures)
    return joined.vectors()


async def _send_leased_chunk(call: CallDispatch, endpoint: Endpoint, chunk: Chunk, progress: _Progress) -> Vectors:
    """Send one chunk, once the provider's quota has room for it alone."""
    lease = await _lease_chunk(call, endpoint, chunk, progress)
    chunk_progress = _Progress(progress.start, progress.sends_from, progress.sends_until)
    used_tokens: int | None = None
    try:
        vectors = await _send_request(call, endpoint, chunk.attempt, chunk_progress)
        used_tokens = vectors.tokens
    finally:
        progress.requests_sent += chunk_progress.requests_sent
        progress.requests_answered += chunk_progress.requests_answered
        call.state.quota.release(lease, used_tokens, chunk_progress.requests_sent)
    return vectors


async def _lease_chunk(call: CallDispatch, endpoint: Endpoint, chunk: Chunk, progress: _Progress) -> Lease:
    """Lease room for one chunk, waiting for it as long as the attempt's time allows."""
    loop, quota = asyncio.get_running_loop(), call.state.quota
    lease_id, tokens = f"{call.id.hex}:{chunk.first}", chunk_token_bound(chunk, call.model.special_tokens)
    while True:
        left_s = progress.sends_until - loop.time()
        try:
            return await quota.acquire(endpoint, lease_id, requests=1, tokens=tokens, slots=1, limit_s=left_s)
        except PassedOver as full:
            wait_s = full.retry_after_s or PAUSE_S
            if wait_s >= left_s:
                if progress.requests_sent:
                    raise TimedOut("what it grants us did not last for all of it") from full
                raise
            await asyncio.sleep(wait_s)


def _decisive_failure(group: BaseExceptionGroup[Failure]) -> Failure:
    """The failure that stands for all: the caller's fault where there is one, else the first."""
    failures = [failure for failure in group.exceptions if isinstance(failure, Failure)]
    return next((failure for failure in failures if isinstance(failure, GiveUp)), failures[0])


def _record(
    call: CallDispatch, attempt_request: AttemptRequest, began: float, now: float, outcome: str, reason: str = ""
) -> None:
    """Write the attempt into the call's trace."""
    began_ms, took_ms = (began - call.trace.began) * 1000, (now - began) * 1000
    record = AttemptRecord(attempt_request.endpoint, attempt_request.why, began_ms, took_ms, outcome, reason)
    call.trace.attempts.append(record)


def _report_failure(
    call: CallDispatch, attempt_request: AttemptRequest, failure: Failure, now: float, progress: _Progress
) -> None:
    """Tell health and the retry budget. Only what counts against health opens a breaker; a used-up quota does not."""
    health, endpoint, start = call.health, attempt_request.endpoint, progress.start
    sending_s = progress.sends_until - progress.sends_from
    waited_for_quota = progress.leases_per_chunk or sending_s < SENDING_SHARE_MIN * attempt_request.limit_s
    if isinstance(failure, GiveUp):
        health.release(endpoint.id, start)
        return
    if not isinstance(failure, TryLater):
        call.retry_budget.record_failure(endpoint.id, now)
    match failure:
        case Quarantine():
            cause, reason = QUARANTINE_CAUSES[type(failure)], failure.message or "it is quarantined"
            for_ops = f"CredentialRefused: {failure.detail}" if isinstance(failure, CredentialRefused) else ""
            is_news = health.quarantine(endpoint.id, cause, reason, start, for_ops)
            if is_news and isinstance(failure, CredentialRefused):
                _alert_operators(call.state, endpoint, failure)
        case PassedOver():
            health.release(endpoint.id, start)
        case Warming():
            health.record_warming(endpoint.id, now, failure.retry_after_s or PAUSE_S, start)
        case TryLater():
            health.record_pause(endpoint.id, now, failure.retry_after_s, start)
        case Misconfigured():
            _alert_operators(call.state, endpoint, failure)
            health.record_failure(endpoint.id, now, failure.message, start=start)
        case TimedOut() if waited_for_quota:
            health.release(endpoint.id, start)
        case TimedOut() if now > progress.sends_until - CLOCK_S:
            is_failure = not (attempt_request.may_be_slow or progress.requests_answered)
            size = call.request.inputs, call.tokens_max
            health.record_timeout(endpoint.id, now, now - progress.sends_from, *size, is_failure, start)
        case BadAnswer():
            health.record_failure(endpoint.id, now, failure.message, BAD_ANSWER_WEIGHT, start)
        case _:
            health.record_failure(endpoint.id, now, failure.message, start=start)


def _alert_operators(state: DispatchState, endpoint: Endpoint, failure: CredentialRefused | Misconfigured) -> None:
    """Log that a provider refuses our key or our credit, or that we cannot read the key: once, not once per call."""
    if endpoint.id in state.refusing_endpoints:
        return
    state.refusing_endpoints.add(endpoint.id)
    if isinstance(failure, Misconfigured):
        log.error("provider_unusable", provider=endpoint.provider_name, reason=failure.detail)
        return
    state.counts.credentials_refused[endpoint.provider_name] += 1
    log.error(
        "provider_credential_refused",
        provider=endpoint.provider_name,
        endpoint=wire(EndpointId, endpoint.id),
        status=failure.status,
    )
