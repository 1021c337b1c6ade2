"""How fast: tokens per second and utilization by length, by size of pack, and beside sentence-transformers."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np

from bench.gpu import card, references
from bench.gpu.records import Values
from bench.gpu.session import Figures, Session, packs_of
from providers.worker.engine.engine import Engine
from providers.worker.errors import Overloaded
from providers.worker.frames import EmbedBody, FloatMatrix
from providers.worker.model.roofline import flops_per_token
from providers.worker.model.tokenizer import Encoded
from providers.worker.start import build_engine

TEXTS_PER_REQUEST = 256
ROUNDS = 2
# The length at which pack sizes are compared.
BUDGET_LENGTH = 256


def speed(session: Session) -> Figures:
    """The model alone, ids to vectors, in packs of the worker's own size; then in packs of other sizes."""
    peak_flops = 1e12 * float(card.peak(session)["tflops"] or 0)
    yield "peak", {"tflops": peak_flops / 1e12}
    for length in session.amount.lengths:
        rows = session.random_rows(length, max(1, session.budget // length))
        yield f"{length} tokens", _measure_rate(session, [rows], peak_flops)
    _, rows = session.skewed(session.amount.texts_compared)
    packs = [[rows[place] for place in pack] for pack in packs_of(rows, session.budget, range(len(rows)))]
    yield "skewed", _measure_rate(session, packs, peak_flops)
    for budget in session.amount.pack_budgets:
        length = min(BUDGET_LENGTH, budget)
        rows = session.random_rows(length, budget // length)
        yield f"pack of {budget}", _measure_rate(session, [rows], peak_flops)


def against(session: Session) -> Figures:
    """Texts to vectors, tokenizing included: the engine and sentence-transformers take turns on the same texts."""
    texts, rows = session.skewed(session.amount.texts_against[session.size])
    tokens = sum(len(row.ids) for row in rows)
    if not references.has_sentence_transformers():
        yield "engine", {"tokens_per_s": tokens / asyncio.run(_engine_s(session, texts))}
        return
    encode = references.sentence_transformers(session)
    encode(texts[:64])
    ours, theirs = [], []
    for number in range(ROUNDS):
        ours.append(tokens / asyncio.run(_engine_s(session, texts)))
        began = time.perf_counter()
        encode(texts)
        session.synchronize()
        theirs.append(tokens / (time.perf_counter() - began))
        yield (
            f"round {number + 1}",
            {
                "texts": len(texts),
                "tokens": tokens,
                "engine_tokens_per_s": ours[-1],
                "sentence_transformers_tokens_per_s": theirs[-1],
                "ratio": ours[-1] / theirs[-1],
            },
        )
    yield "best", {"ratio": max(ours) / max(theirs), "engine_tokens_per_s": max(ours), "peer": "sentence-transformers"}


@asynccontextmanager
async def engine_of(session: Session) -> AsyncIterator[Engine]:
    """The worker's engine on the loaded model, for the length of the block."""
    engine, _ = build_engine(session.ready)
    engine.start()
    try:
        yield engine
    finally:
        await engine.drain()
        engine.stop()


async def embed_batch(engine: Engine, texts: Sequence[str]) -> FloatMatrix:
    """All texts through the batch lane, waiting where it is full."""
    parts = [list(texts[first : first + TEXTS_PER_REQUEST]) for first in range(0, len(texts), TEXTS_PER_REQUEST)]
    return np.concatenate(await asyncio.gather(*(_patiently(engine, part) for part in parts)))


async def _patiently(engine: Engine, texts: list[str]) -> FloatMatrix:
    while True:
        try:
            return (await engine.embed(EmbedBody(texts=texts, lane="batch"))).matrix
        except Overloaded as full:
            await asyncio.sleep(min(0.2, full.retry_after_s))


async def _engine_s(session: Session, texts: Sequence[str]) -> float:
    async with engine_of(session) as engine:
        await embed_batch(engine, texts[:64])
        began = time.perf_counter()
        await embed_batch(engine, texts)
        return time.perf_counter() - began


def _measure_rate(session: Session, packs: Sequence[Sequence[Encoded]], peak_flops: float) -> Values:
    """Tokens per second over whole rounds of the packs, and the share of the measured peak that their sums need."""
    encoder = session.ready.encoder
    lengths = np.array([len(row.ids) for pack in packs for row in pack], dtype=np.float64)
    for pack in packs:
        encoder.embed(pack)
    rounds, began = 0, time.perf_counter()
    while not rounds or (time.perf_counter() - began < session.amount.rate_s and session.time_left() > 1):
        for pack in packs:
            encoder.embed(pack)
        rounds += 1
    seconds = (time.perf_counter() - began) / rounds
    tokens = float(lengths.sum())
    # Each token sees half of its own text: the mean over tokens, not over texts, is what attention costs.
    flops = flops_per_token(session.shape, float((lengths**2).sum() / tokens))
    return {
        "tokens": int(tokens),
        "rounds": rounds,
        "step_ms": 1e3 * seconds / len(packs),
        "tokens_per_s": tokens / seconds,
        "mfu": tokens / seconds * flops / peak_flops,
    }
