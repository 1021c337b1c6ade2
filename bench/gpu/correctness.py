"""Whether the vectors are right: packed against alone, against other people's code, against the CPU, bit by bit."""

from collections.abc import Sequence

import numpy as np

from bench.gpu import references
from bench.gpu.records import Values
from bench.gpu.session import Figures, Session, embed_in_packs
from providers.probing.agreement import Numerics, compare
from providers.worker.frames import FloatMatrix
from providers.worker.model.encoder import Encoder
from providers.worker.model.tokenizer import Encoded

# Orders in which the texts are packed, each with other neighbors.
COMPANIES = 3


def correctness(session: Session) -> Figures:
    """bfloat16: how far packs are from the same texts alone and from the references."""
    texts, rows = session.skewed(session.amount.texts_compared)
    encoder = session.ready.encoder
    yield "texts", {"texts": len(rows), "tokens": sum(len(row.ids) for row in rows), "packs": encoder.packs}
    alone = embed_in_packs(encoder, rows, 1)
    packed = embed_in_packs(encoder, rows, session.budget)
    yield "packed against alone", distances(alone, packed)
    yield "bits", batch_invariance(encoder, rows, alone, session.budget)
    if references.has_sentence_transformers():
        encode = references.sentence_transformers(session)
        yield "packed against sentence-transformers", distances(encode(texts), packed)
    pad = references.padded(session)
    yield "packed against padded transformers", distances(pad(rows), packed)


def float32(session: Session) -> Figures:
    """The same code in float32 on this device and on the CPU, of the same weights."""
    _, rows = session.skewed(session.amount.texts_float32)
    here = embed_in_packs(session.encoder("float32"), rows, session.budget)
    yield "alone", distances(embed_in_packs(session.encoder("float32"), rows, 1), here)
    cpu = embed_in_packs(session.encoder("float32", device="cpu"), rows, 512)
    yield "against the CPU", distances(cpu, here)
    half = embed_in_packs(session.ready.encoder, rows, session.budget)
    yield "bfloat16 against float32", distances(here, half)


def distances(reference: FloatMatrix, other: FloatMatrix) -> Values:
    """How far two sets of vectors of length 1 are apart: cosines, ranks, the largest difference of a number."""
    found = compare(reference, other, Numerics.BF16)
    return {
        "cosine_min": found.cosine_min,
        "cosine_median": found.cosine_median,
        "rank": found.rank,
        "overlap": found.overlap,
        "difference_max": float(np.abs(reference - other).max()),
    }


def batch_invariance(encoder: Encoder, rows: Sequence[Encoded], alone: FloatMatrix, budget: int) -> Values:
    """How many rows have the bits that they have alone, in packs of several orders, and how far the others are off."""
    rng = np.random.default_rng(0)
    equal = tried = 0
    difference = 0.0
    for _ in range(COMPANIES):
        together = embed_in_packs(encoder, rows, budget, rng.permutation(len(rows)).tolist())
        same = (together == alone).all(axis=1)
        equal += int(same.sum())
        tried += len(rows)
        difference = max(difference, float(np.abs(together - alone).max()))
    return {"equal": equal, "tried": tried, "difference_max": difference}
