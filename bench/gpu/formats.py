"""How far int8 and fp8 weights are from bfloat16 at the model's depth, as the probes of a vector space see them.

The weights are rounded and put back as bfloat16, so that only the rounding is measured. They are random: a trained
model's outliers may put it further off, not nearer.
"""

from collections.abc import Callable, Sequence

import torch

from bench.gpu.records import Values
from bench.gpu.session import DTYPE, Figures, Session, embed_in_packs
from providers.probing.agreement import Numerics, compare
from providers.probing.probe_texts import probe_set
from providers.worker.frames import FloatMatrix

PROBE_TOKENS = 512
SMALLEST = 1e-12


def int8(weight: torch.Tensor) -> torch.Tensor:
    """8-bit integers with one scale per output channel."""
    scale = weight.float().abs().amax(dim=1, keepdim=True).clamp(min=SMALLEST) / 127
    return ((weight.float() / scale).round().clamp(-127, 127) * scale).to(weight.dtype)


def fp8(weight: torch.Tensor) -> torch.Tensor:
    """float8 e4m3 with one scale per output channel."""
    scale = weight.float().abs().amax(dim=1, keepdim=True).clamp(min=SMALLEST) / 448
    return ((weight.float() / scale).to(torch.float8_e4m3fn).float() * scale).to(weight.dtype)


def fp8_cast(weight: torch.Tensor) -> torch.Tensor:
    """float8 e4m3 without a scale, as a plain cast gives it."""
    return weight.to(torch.float8_e4m3fn).to(weight.dtype)


CHANGES: dict[str, tuple[Numerics, Callable[[torch.Tensor], torch.Tensor]]] = {
    "int8 per channel": (Numerics.INT8, int8),
    "fp8 per channel": (Numerics.FP8, fp8),
    "fp8 cast": (Numerics.FP8, fp8_cast),
}


def formats(session: Session) -> Figures:
    """Each format against bfloat16 as the worker computes it; first what bfloat16 differs from itself and float32."""
    limit = min(PROBE_TOKENS, session.ready.identity.max_tokens)
    texts = [probe.text for probe in probe_set(limit).probes]
    rows = [row for text in texts for row in session.ready.tokenizers.encode_texts([text], "", truncate=True)]
    reference = embed_in_packs(session.ready.encoder, rows, session.budget)
    alone = embed_in_packs(session.ready.encoder, rows, 1)
    yield "bfloat16 alone", _distances(reference, alone, Numerics.BF16)
    yield (
        "float32",
        _distances(reference, embed_in_packs(session.encoder("float32"), rows, session.budget), Numerics.BF16),
    )
    for name, (numerics, change) in CHANGES.items():
        matrix = embed_in_packs(session.encoder(DTYPE, change), rows, session.budget)
        yield name, _distances(reference, matrix, numerics)


def _distances(reference: FloatMatrix, matrix: FloatMatrix, own: Numerics) -> Values:
    """Distances as the thresholds are given, and what a space of bfloat16 and one of the own class say to them."""
    found = compare(reference, matrix, Numerics.BF16)
    return {
        "worst": 1 - (found.cosine_min or 0.0),
        "typical": 1 - (found.cosine_median or 0.0),
        "rank": found.rank,
        "overlap": found.overlap,
        "as_bf16": found.fault or "admitted",
        f"as_{own}": compare(reference, matrix, own).fault or "admitted",
    }


def names() -> Sequence[str]:
    """What is measured, in order."""
    return ("bfloat16 alone", "float32", *CHANGES)
