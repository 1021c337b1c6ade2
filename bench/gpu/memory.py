"""Too little memory: the pack is split, the budget shrinks and comes back, and no request is told of it.

On a GPU the memory is really taken, by a tensor that leaves a little more than half of what a whole pack needs. A CPU
has no such limit to set, so there the model raises the same error for packs above half of the budget.
"""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import torch

from bench.gpu.records import Values
from bench.gpu.session import Figures, Session, embed_in_packs
from providers.worker.engine.device_step import DeviceSteps, EmbeddingModel
from providers.worker.engine.engine import Engine
from providers.worker.engine.health import Metrics, Watchdog
from providers.worker.engine.scheduler import Scheduler
from providers.worker.errors import WorkerError
from providers.worker.frames import EmbedBody, FloatMatrix
from providers.worker.model.encoder import Encoder, unit
from providers.worker.model.tokenizer import Encoded

TEXT_TOKENS = 32
# Of what a whole pack needs at its peak; a half needs half of it, and the allocator rounds up.
LEFT_SHARE = 0.6
CALLERS = 4
# The budget takes an eighth of what it lost back per pack that uses it.
RECOVERY_ROUNDS = 20
RECOVERED_SHARE = 0.9


class Starved:
    """An encoder that has no room for packs above ``limit_tokens``."""

    def __init__(self, encoder: Encoder, limit_tokens: int) -> None:
        self.limit_tokens = limit_tokens
        self._encoder = encoder

    def embed(self, pack: Sequence[Encoded], interrupt: Callable[[], None] | None = None) -> FloatMatrix:
        tokens = sum(len(row.ids) for row in pack)
        if tokens > self.limit_tokens:
            raise torch.OutOfMemoryError(f"{tokens} tokens where there is room for {self.limit_tokens}")
        return self._encoder.embed(pack, interrupt)

    def filler_tokens(self, tokens: int) -> int:
        return self._encoder.filler_tokens(tokens)

    def is_responsive(self) -> bool:
        return self._encoder.is_responsive()


class Shortage:
    """The memory is short from :meth:`begin` to :meth:`end`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._starved = Starved(session.ready.encoder, 1 << 30)
        self._ballast: torch.Tensor | None = None
        self.model: EmbeddingModel = session.ready.encoder if session.on_gpu else self._starved
        self.facts: Values = {"real": session.on_gpu}

    def begin(self) -> None:
        session = self._session
        if not session.on_gpu:
            self._starved.limit_tokens = session.budget * 6 // 10
            return
        needed = _peak_bytes(session)
        torch.cuda.empty_cache()
        free = torch.cuda.mem_get_info(session.device)[0]
        self._ballast = torch.empty(max(1, free - int(LEFT_SHARE * needed)), dtype=torch.uint8, device=session.device)
        mib = 1 << 20
        left = torch.cuda.mem_get_info(session.device)[0]
        self.facts |= {"pack_needs_mib": needed // mib, "left_mib": left // mib}

    def end(self) -> None:
        self._starved.limit_tokens = 1 << 30
        self._ballast = None
        if self._session.on_gpu:
            torch.cuda.empty_cache()


def memory(session: Session) -> Figures:
    """Batch requests of two packs in all, and lone queries beside them, while memory is short; then with room again."""
    tokenizers = session.ready.tokenizers
    drawn = session.random_rows(TEXT_TOKENS - tokenizers.special_tokens, 2 * session.budget // TEXT_TOKENS)
    rows = tokenizers.encode_ids([row.ids for row in drawn], "", truncate=False)
    reference = embed_in_packs(session.ready.encoder, rows, session.budget)
    yield "shortage", asyncio.run(_run(session, rows, reference))


async def _run(session: Session, rows: Sequence[Encoded], reference: FloatMatrix) -> Values:
    shortage, metrics = Shortage(session), Metrics()
    scheduler = Scheduler(session.ready.warmup.limits, session.ready.warmup.tokens_per_s)
    engine = Engine(
        steps=DeviceSteps(shortage.model, watchdog=Watchdog(asyncio.get_running_loop().time), metrics=metrics),
        tokenizers=session.ready.tokenizers,
        identity=session.ready.identity,
        scheduler=scheduler,
        metrics=metrics,
    )
    whole = scheduler.budget_tokens
    engine.start()
    try:
        # The model's thread gets its own workspaces at its first step; they are not what is to run short.
        await _requests(engine, rows)
        shortage.begin()
        smallest, cosine_min, failed = await _under_pressure(engine, scheduler, rows, reference)
        shortage.end()
        for _ in range(RECOVERY_ROUNDS):
            if scheduler.budget_tokens > RECOVERED_SHARE * whole:
                break
            await _requests(engine, rows)
    finally:
        shortage.end()
        await engine.drain()
        engine.stop()
    faults = metrics.registry.get_sample_value("gigarouter_worker_device_faults_total", {"kind": "memory"})
    return shortage.facts | {
        "budget_tokens": whole,
        "budget_smallest": smallest,
        "budget_after": scheduler.budget_tokens,
        "faults": faults or 0.0,
        "requests_failed": failed,
        "cosine_min": cosine_min,
        "broken": engine.broken.is_set(),
    }


async def _under_pressure(
    engine: Engine, scheduler: Scheduler, rows: Sequence[Encoded], reference: FloatMatrix
) -> tuple[int, float, int]:
    """The smallest budget seen, the least cosine of an answer with its reference, and how many requests failed."""
    budgets: list[int] = []

    async def watch() -> None:
        while True:
            budgets.append(scheduler.budget_tokens)
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    answers = await _requests(engine, rows)
    watching.cancel()
    failed = sum(isinstance(answer, BaseException) for _, answer in answers)
    cosines = [
        float((unit(answer) * reference[places]).sum(axis=1).min())
        for places, answer in answers
        if not isinstance(answer, BaseException)
    ]
    return min([*budgets, scheduler.budget_tokens]), min(cosines, default=0.0), failed


async def _requests(engine: Engine, rows: Sequence[Encoded]) -> list[tuple[list[int], FloatMatrix | BaseException]]:
    """All rows in a few batch requests at once, with a lone one beside them; each with the places of its rows."""
    parts = [part.tolist() for part in np.array_split(np.arange(len(rows)), CALLERS)]

    async def one(places: list[int], *, lone: bool) -> FloatMatrix | BaseException:
        ids = [rows[place].ids for place in places]
        body = EmbedBody(token_ids=ids, lane="interactive" if lone else "batch")
        try:
            return (await engine.embed(body)).matrix
        except WorkerError as error:
            return error

    wanted = [(part, False) for part in parts] + [([0], True)]
    found = await asyncio.gather(*(one(places, lone=lone) for places, lone in wanted))
    return [(places, answer) for (places, _), answer in zip(wanted, found, strict=True)]


def _peak_bytes(session: Session) -> int:
    """What a whole pack takes besides the weights."""
    pack = session.random_rows(TEXT_TOKENS, max(1, session.budget // TEXT_TOKENS))
    session.ready.encoder.embed(pack)
    torch.cuda.reset_peak_memory_stats(session.device)
    before = torch.cuda.memory_allocated(session.device)
    session.ready.encoder.embed(pack)
    return int(torch.cuda.max_memory_allocated(session.device)) - before
