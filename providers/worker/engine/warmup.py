"""Warms a model up before the port opens: runs typical packs, measures the device's rate, checks batch invariance.

Sizes that a GPU has room for are measured, not guessed: the peak of two packs gives the bytes per token.
"""

import logging
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import torch

from providers.worker.engine.scheduler import Limits
from providers.worker.frames import FloatMatrix
from providers.worker.model.encoder import Encoder
from providers.worker.model.tokenizer import Encoded, TokenizerPool

logger = logging.getLogger("gigarouter.worker")

WARMUP_S = 2.0
# Measured on two CPU cores with the 80M shape: packs of 128 to 512 tokens are the fastest, larger ones leave the
# cache. A GPU wants thousands; past 8k only the latency grows.
CPU_PACK_TOKENS = 512
CPU_INTERACTIVE_TOKENS = 256
GPU_PACK_TOKENS = 8192
# Below about this many tokens a GPU waits for the weights to arrive, not for the arithmetic.
GPU_FILL_TOKENS = 512
GPU_STEP_S = 0.06
INTERACTIVE_QUEUE_S = 8.0
BATCH_QUEUE_S = 60.0


class WarmupResult(msgspec.Struct, frozen=True):
    """What the warmup measured. ``batch_invariant``: a row had the same bits alone and in every pack that was tried."""

    tokens_per_s: float
    batch_invariant: bool
    limits: Limits


def warm_up(
    encoder: Encoder, tokenizers: TokenizerPool, device: str, clock: Callable[[], float] = time.monotonic
) -> WarmupResult:
    """Warm the model up, which takes about two seconds, or one slow pack. Raises what the device raises."""
    longest = tokenizers.max_tokens
    lengths = [1, 2, 3, 8, 8, 17, 30, 64, 64, min(100, longest), min(190, longest)]
    rows = _random_rows(lengths, tokenizers.vocabulary_size)
    batched = encoder.embed(rows)
    single = np.concatenate([encoder.embed([row]) for row in rows])
    batch_invariant = same_bits(batched, single)
    pack_tokens = GPU_PACK_TOKENS if device.startswith("cuda") else CPU_PACK_TOKENS
    pack = _random_rows([min(64, longest)] * (pack_tokens // min(64, longest)), tokenizers.vocabulary_size)
    rate = _measure_rate(encoder, pack, clock)
    logger.info(
        "%.0f tokens/s, vectors %s", rate, "independent of their company" if batch_invariant else "vary in the last bit"
    )
    return WarmupResult(
        tokens_per_s=rate, batch_invariant=batch_invariant, limits=_limits(encoder, device, rate, pack, longest)
    )


def _measure_rate(encoder: Encoder, pack: Sequence[Encoded], clock: Callable[[], float]) -> float:
    tokens = sum(len(row.ids) for row in pack)
    best = 0.0
    began = clock()
    for _ in range(8):
        step = clock()
        encoder.embed(pack)
        best = max(best, tokens / max(1e-6, clock() - step))
        if clock() - began > WARMUP_S:
            break
    return best


def _limits(encoder: Encoder, device: str, rate: float, pack: Sequence[Encoded], longest: int) -> Limits:
    queue = max(int(INTERACTIVE_QUEUE_S * rate), 4 * longest)
    batch_queue = max(int(BATCH_QUEUE_S * rate), 16 * longest)
    if not device.startswith("cuda"):
        return Limits(
            pack_tokens=CPU_PACK_TOKENS,
            interactive_tokens=CPU_INTERACTIVE_TOKENS,
            fill_tokens=0,
            queue_tokens=queue,
            batch_queue_tokens=batch_queue,
        )
    budget = min(GPU_PACK_TOKENS, _tokens_that_fit(encoder, device, pack))
    return Limits(
        pack_tokens=budget,
        interactive_tokens=min(budget, max(GPU_FILL_TOKENS, int(GPU_STEP_S * rate))),
        fill_tokens=min(budget, GPU_FILL_TOKENS),
        queue_tokens=queue,
        batch_queue_tokens=batch_queue,
    )


def _tokens_that_fit(encoder: Encoder, device: str, pack: Sequence[Encoded]) -> int:
    """The tokens that fit into memory, from the peaks of a whole and a half pack, with a tenth to spare."""
    peaks: list[int] = []
    for rows in (pack[: len(pack) // 2], pack):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        encoder.embed(rows)
        peaks.append(torch.cuda.max_memory_allocated(device) - before)
    tokens = sum(len(row.ids) for row in pack)
    per_token = max(1.0, (peaks[1] - peaks[0]) / (tokens / 2))
    return max(1, int(0.9 * torch.cuda.mem_get_info(device)[0] / per_token))


def _random_rows(lengths: Sequence[int], vocabulary: int) -> list[Encoded]:
    generator = torch.Generator().manual_seed(1)
    return [Encoded(ids=torch.randint(0, vocabulary, (length,), generator=generator).tolist()) for length in lengths]


def same_bits(left: FloatMatrix, right: FloatMatrix) -> bool:
    """Whether two results are equal to the last bit."""
    return bool(np.array_equal(left.view(np.uint32), right.view(np.uint32)))
