"""Other people's ways to the same vectors: sentence-transformers, and transformers' own forward with padding."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from transformers import AutoModel, PreTrainedModel

from bench.gpu.session import DTYPE, Session
from providers.worker.frames import FloatMatrix
from providers.worker.model.encoder import unit
from providers.worker.model.tokenizer import Encoded

# sentence-transformers' own.
BATCH = 32


def has_sentence_transformers() -> bool:
    """Whether it is installed."""
    return find_spec("sentence_transformers") is not None


@cache
def sentence_transformers(session: Session) -> Callable[[Sequence[str]], FloatMatrix]:
    """Its ``encode`` as it is documented, on the same folder, device and type. Loaded once."""
    from sentence_transformers import SentenceTransformer

    found = SentenceTransformer(
        str(session.folder), device=session.device, model_kwargs={"dtype": getattr(torch, DTYPE)}
    )

    def encode(texts: Sequence[str]) -> FloatMatrix:
        vectors = found.encode(list(texts), batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)
        return unit(np.asarray(vectors, dtype=np.float32))

    return encode


def padded(session: Session) -> Callable[[Sequence[Encoded]], FloatMatrix]:
    """Batches padded on the right with a mask, sorted by length, as most code does it."""
    found: PreTrainedModel = AutoModel.from_pretrained(
        str(session.folder), dtype=getattr(torch, DTYPE), attn_implementation="sdpa"
    )
    found.train(False).to(session.device)

    def encode(rows: Sequence[Encoded]) -> FloatMatrix:
        order = sorted(range(len(rows)), key=lambda place: len(rows[place].ids))
        matrix = np.empty((len(rows), found.config.hidden_size), np.float32)
        for first in range(0, len(rows), BATCH):
            places = order[first : first + BATCH]
            matrix[places] = _padded_batch(found, session.device, [rows[place].ids for place in places])
        return unit(matrix)

    return encode


def _padded_batch(model: PreTrainedModel, device: str, rows: list[list[int]]) -> FloatMatrix:
    lengths = torch.tensor([len(row) for row in rows], device=device)
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    mask = torch.arange(longest, device=device)[None] < lengths[:, None]
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state
    last: FloatMatrix = hidden[torch.arange(len(rows), device=device), lengths - 1].float().cpu().numpy()
    return last
