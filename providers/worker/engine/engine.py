"""The worker's engine: tokenizes requests, queues them, runs packs on the model and joins the rows to answers.

It has three kinds of threads: the event loop (requests, queue), tokenizer threads, and one model thread, the only one
that touches the device. A request waits for one future; the model thread takes one pack at a time.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import msgspec
import numpy as np

from providers.worker.engine.device_step import DeviceSteps, Row
from providers.worker.engine.health import Metrics
from providers.worker.engine.model_thread import ModelThread
from providers.worker.engine.scheduler import LANES, Pack, Piece, Refusal, Scheduler
from providers.worker.errors import BadRequest, Overloaded, StepFailed, WorkerError
from providers.worker.frames import EmbedBody, FloatMatrix, Lane
from providers.worker.model.identity import Identity
from providers.worker.model.pooling import finish
from providers.worker.model.tokenizer import Encoded, TokenizerPool

logger = logging.getLogger("gigarouter.worker")
T = TypeVar("T")

# Texts tokenized before another request gets its turn at the tokenizer threads; about 5 ms of work.
TEXTS_PER_TURN = 64
# Finishing less than this many numbers is faster than handing it to a thread.
NUMBERS_INLINE = 1 << 16
# A text has at least one token per this many characters, so this much of the queue is taken before the exact count.
CHARACTERS_PER_TOKEN = 8


class Embedded(msgspec.Struct, frozen=True):
    """The vectors of one request, [inputs, dimensions], with the exact tokens of each input."""

    matrix: FloatMatrix
    tokens: list[int]
    truncated: list[bool]


class _Job:
    """One request in the engine: its inputs, the rows computed so far, the future that its handler awaits."""

    __slots__ = ("done", "encoded", "lane", "missing", "queued_at", "rows", "started")

    def __init__(self, encoded: list[Encoded], lane: Lane, width: int, done: asyncio.Future[None], now: float) -> None:
        self.encoded = encoded
        self.lane = lane
        self.rows = np.empty((len(encoded), width), dtype=np.float32)
        self.missing = len(encoded)
        self.done = done
        self.queued_at = now
        self.started = False


class Engine:
    """The model with a queue in front. Make it inside a running event loop, then :meth:`start` it.

    ``thread`` is the one that loaded the model.
    """

    def __init__(
        self,
        *,
        steps: DeviceSteps,
        tokenizers: TokenizerPool,
        identity: Identity,
        scheduler: Scheduler,
        metrics: Metrics,
        thread: ModelThread | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = identity
        self.metrics = metrics
        self.draining = False
        self.broken = asyncio.Event()
        self._device_steps = steps
        self._tokenizers = tokenizers
        self._scheduler = scheduler
        self._clock = clock
        self._jobs: dict[int, _Job] = {}
        self._ids = itertools.count()
        self._accepted = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._tokenizer_threads = ThreadPoolExecutor(tokenizers.copies, thread_name_prefix="tokenizer")
        # Guards the scheduler and the jobs; held for microseconds by the event loop and by the model thread.
        self._lock = threading.Condition()
        self._stopping = False
        self._thread = thread or ModelThread()

    def start(self) -> None:
        """Begin to run packs."""
        self._thread.submit(self._run).add_done_callback(self._thread_ended)

    async def count(self, request: EmbedBody) -> list[int]:
        """Count the tokens of each input. Raises BadRequest."""
        return [len(encoded.ids) for encoded in await self._encode(request)]

    async def embed(self, request: EmbedBody) -> Embedded:
        """Embed a request; when canceled, its work leaves the queue.

        Raises BadRequest, Overloaded, StepFailed, OutputInvalid.
        """
        self._check_dimensions(request.dimensions)
        self._check_capacity(request)
        self._accepted += 1
        self._idle.clear()
        outcome = "canceled"
        try:
            embedded = await self._embed(request)
            outcome = "answered"
        except BadRequest:
            outcome = "refused"
            raise
        except WorkerError as error:
            outcome = "overloaded" if type(error) is Overloaded else "failed"
            raise
        finally:
            self.metrics.requests.labels(outcome).inc()
            self._accepted -= 1
            if not self._accepted:
                self._idle.set()
        return embedded

    async def drain(self) -> None:
        """Refuse new requests and wait for those accepted."""
        self.draining = True
        await self._idle.wait()

    def stop(self) -> None:
        """End the threads. Requests that still wait are never answered, so :meth:`drain` first."""
        with self._lock:
            self._stopping = True
            self._lock.notify()
        self._thread.end()
        self._tokenizer_threads.shutdown()

    def load(self) -> dict[str, float]:
        """How busy the engine is: what ``/ready`` answers and a router may weigh."""
        with self._lock:
            scheduler = self._scheduler
            load = {f"{lane}_queue_tokens": float(scheduler.queued_tokens(lane)) for lane in LANES}
            load |= {f"{lane}_wait_s": round(scheduler.wait_s(lane), 3) for lane in LANES}
            for lane in LANES:
                self.metrics.queue_tokens.labels(lane).set(scheduler.queued_tokens(lane))
                self.metrics.queue_requests.labels(lane).set(scheduler.queued_requests(lane))
            self.metrics.rate.set(scheduler.tokens_per_s)
            self.metrics.budget.set(scheduler.budget_tokens)
            return load | {"tokens_per_s": round(scheduler.tokens_per_s, 1)}

    async def _embed(self, request: EmbedBody) -> Embedded:
        began = self._clock()
        encoded = await self._encode(request)
        self._observe("tokenize", self._clock() - began)
        if not encoded:
            return Embedded(np.empty((0, request.dimensions or self.identity.dimensions), np.float32), [], [])
        job = await self._run_job(encoded, request.lane)
        began = self._clock()
        rows, normalized = job.rows, self.identity.normalized
        if rows.size <= NUMBERS_INLINE:
            matrix = finish(rows, request.dimensions, normalized=normalized)
        else:
            matrix = await self._in_thread(lambda: finish(rows, request.dimensions, normalized=normalized))
        self._observe("finish", self._clock() - began)
        truncated = [row.truncated for row in encoded]
        self.metrics.truncated.inc(sum(truncated))
        return Embedded(matrix, [len(row.ids) for row in encoded], truncated)

    async def _run_job(self, encoded: list[Encoded], lane: Lane) -> _Job:
        """Queue the inputs and wait until the last of their rows is computed."""
        if self.broken.is_set():
            # Accepted before the device failed and tokenized after: no thread would take it from the queue.
            raise _device_failed()
        job = _Job(encoded, lane, self.identity.dimensions, self._loop.create_future(), self._clock())
        number = next(self._ids)
        with self._lock:
            refusal = self._scheduler.offer(number, lane, [len(row.ids) for row in encoded], job.queued_at)
            if refusal is None:
                self._jobs[number] = job
                self._lock.notify()
        if refusal is not None:
            raise _overloaded(refusal)
        try:
            await job.done
        finally:
            with self._lock:
                self._scheduler.cancel(number)
                self._jobs.pop(number, None)
        return job

    def _check_dimensions(self, dimensions: int | None) -> None:
        native = self.identity.dimensions
        if dimensions is None or dimensions == native:
            return
        if not self.identity.trained_dimensions:
            message = f"This model's vectors cannot be shortened; leave dimensions out or ask for {native}."
            raise BadRequest(message, code="dimensions_unsupported", param="dimensions")
        if not 1 <= dimensions <= native:
            message = f"dimensions must be from 1 to {native}."
            raise BadRequest(message, code="dimensions_unsupported", param="dimensions")

    def _check_capacity(self, request: EmbedBody) -> None:
        """Refuse a request that the queue will not take, before any work. Raises Overloaded."""
        if self.draining:
            raise Overloaded("This worker is shutting down; send the request to another one.", retry_after_s=1)
        if request.texts is not None:
            least = sum(len(text) for text in request.texts) // CHARACTERS_PER_TOKEN
        else:
            least = sum(len(ids) for ids in request.token_ids or ())
        with self._lock:
            refusal = self._scheduler.refuses(request.lane, least)
        if refusal is not None:
            self.metrics.requests.labels("overloaded").inc()
            raise _overloaded(refusal)

    async def _encode(self, request: EmbedBody) -> list[Encoded]:
        encoded: list[Encoded] = []
        for first in range(0, request.inputs, TEXTS_PER_TURN):
            encoded += await self._in_thread(lambda first=first: self._encode_turn(request, first))  # type: ignore[misc]
        return encoded

    def _encode_turn(self, request: EmbedBody, first: int) -> list[Encoded]:
        turn = slice(first, first + TEXTS_PER_TURN)
        prefix, truncate = request.prefix, request.truncate
        if request.texts is not None:
            return self._tokenizers.encode_texts(request.texts[turn], prefix, truncate=truncate, first=first)
        return self._tokenizers.encode_ids((request.token_ids or [])[turn], prefix, truncate=truncate, first=first)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._tokenizer_threads, work)

    def _observe(self, stage: str, seconds: float) -> None:
        self.metrics.stages.labels(stage).observe(seconds)

    def _run(self) -> None:
        """The model thread: run one pack after another, until stopped or until the device is broken."""
        while not self._device_steps.broken:
            with self._lock:
                while (pack := self._scheduler.next_pack(self._clock())) is None:
                    if self._stopping:
                        return
                    self._lock.wait()
            self._run_with_interruptions(pack)

    def _thread_ended(self, run: Future[None]) -> None:
        """The model thread has ended: because it was stopped, or because it cannot go on."""
        if fault := run.exception():
            logger.critical("the model thread has failed", exc_info=fault)
        if fault or self._device_steps.broken:
            self._loop.call_soon_threadsafe(self._fail_all)

    def _run_with_interruptions(self, pack: Pack) -> None:
        spent_tokens, spent_s = 0, 0.0
        may_ask = True

        def interrupt() -> None:
            """The model calls this every few milliseconds: run short work that waits, then go on."""
            nonlocal spent_tokens, spent_s, may_ask
            if not may_ask or not self._scheduler.may_interrupt(pack, spent_tokens):
                return
            with self._lock:
                interruption = self._scheduler.next_interruption(pack)
            if interruption is None:
                may_ask = False
                return
            spent_tokens += interruption.tokens
            spent_s += self._run_pack(interruption, None)
            self.metrics.interruptions.inc()

        seconds = self._run_pack(pack, interrupt) - spent_s
        with self._lock:
            self._scheduler.finished(pack.tokens, seconds)
        self.metrics.busy.inc(seconds + spent_s)

    def _run_pack(self, pack: Pack, interrupt: Callable[[], None] | None) -> float:
        """Run a pack and hand its rows to their jobs. Returns how long it took, in seconds."""
        began = self._clock()
        with self._lock:
            places = [(job, piece) for piece in pack.pieces if (job := self._jobs.get(piece.request)) is not None]
            rate = self._scheduler.tokens_per_s
        for job, _ in places:
            if not job.started:
                job.started = True
                self._observe("queue", began - job.queued_at)
        if not places:
            return 0.0
        rows = [job.encoded[piece.index] for job, piece in places]
        try:
            results, out_of_memory = self._device_steps.run(rows, tokens_per_s=rate, interrupt=interrupt)
        except Exception:
            logger.exception("a step failed with an unexpected exception")
            results, out_of_memory = (
                [StepFailed("The worker failed this step.", retry_after_s=1) for _ in rows],
                False,
            )
        seconds = self._clock() - began
        self._observe("model", seconds)
        with self._lock:
            if out_of_memory:
                self._scheduler.shrink()
            else:
                self._scheduler.grow(pack.tokens)
        self._deliver(places, results)
        return seconds

    def _deliver(self, places: Sequence[tuple[_Job, Piece]], results: Sequence[Row | WorkerError]) -> None:
        finished: list[tuple[_Job, WorkerError | None]] = []
        for (job, piece), result in zip(places, results, strict=True):
            if isinstance(result, WorkerError):
                finished.append((job, result))
                continue
            job.rows[piece.index] = result
            job.missing -= 1
            counter = self.metrics.wasted if job.done.cancelled() else self.metrics.tokens.labels(job.lane)
            counter.inc(piece.tokens)
            if not job.missing:
                finished.append((job, None))
        if finished:
            self._loop.call_soon_threadsafe(_end_jobs, finished)

    def _fail_all(self) -> None:
        """The device is broken: fail every request that waits, so that it goes elsewhere; the process should end."""
        self.draining = True
        _end_jobs([(job, _device_failed()) for job in self._jobs.values()])
        self.broken.set()


def _end_jobs(jobs: Sequence[tuple[_Job, WorkerError | None]]) -> None:
    for job, fault in jobs:
        if job.done.done():
            continue
        if fault is None:
            job.done.set_result(None)
        else:
            job.done.set_exception(fault)


def _device_failed() -> StepFailed:
    return StepFailed("The device of this worker has failed; send the request to another one.", retry_after_s=1)


def _overloaded(refusal: Refusal) -> Overloaded:
    return Overloaded("The queue of this worker is full.", retry_after_s=refusal.retry_after_s)
