"""The model as one function: sequences of ids in, one float32 row each out. Only the model thread calls it.

A pack is run without padding. Where an architecture cannot be packed (its attention wants windows or biases, or the
check at start finds other numbers), sequences run one at a time, which is just as exact and on a CPU about as fast.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from providers.worker.frames import FloatMatrix
from providers.worker.model.attention import PackedAttention, PackingUnsupported
from providers.worker.model.pooling import pool
from providers.worker.model.prepack import Replaced, can_prepack, prepack, undo
from providers.worker.model.profile import Profile
from providers.worker.model.tokenizer import Encoded

logger = logging.getLogger("gigarouter.worker")

# Below this, matrix libraries pick another kernel and the last bit of a lone two-token row differs from the same row
# in company; measured with 2 to 7 tokens, gone from 8 on.
PACK_TOKENS_MIN = 16
# The largest difference of unit vectors between a pack and the model's own way that still counts as the same.
AGREEMENT = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 5e-3}


class Encoder:
    """A loaded model that embeds packs; ``packs`` says whether it runs several sequences in one forward."""

    def __init__(self, model: PreTrainedModel, attention: PackedAttention, profile: Profile, filler: int) -> None:
        self._model = model
        self._attention = attention
        self._profile = profile
        self._filler = filler
        self._device = model.device
        self._position_start = 0
        self._interrupt: Callable[[], None] | None = None
        attention.pause = self._pause
        self.packs = True
        probes = self._probes()
        reference = self._reference_vectors(probes)
        self.packs = self._check_packing(probes, reference)
        self.prepacked = can_prepack(self._device) and self._try_prepacking(probes, reference)

    def embed(self, pack: Sequence[Encoded], interrupt: Callable[[], None] | None = None) -> FloatMatrix:
        """Embed a pack: [sequences, width] float32, pooled, neither shortened nor normalized. Blocking.

        On a CPU ``interrupt`` is called every few milliseconds while this runs, and may call :meth:`embed` itself.
        Raises torch.OutOfMemoryError, RuntimeError.
        """
        outer, self._interrupt = self._interrupt, interrupt
        try:
            with torch.inference_mode():
                if self.packs:
                    return self._embed_packed(pack)
                return np.concatenate([self._embed_single(encoded) for encoded in pack])
        finally:
            self._interrupt = outer

    def filler_tokens(self, tokens: int) -> int:
        """How many tokens are added to a pack of this size; 0 for all but the tiniest."""
        return max(0, PACK_TOKENS_MIN - tokens) if self.packs else 0

    def is_responsive(self) -> bool:
        """Whether the device still computes."""
        try:
            return float(torch.ones(2, device=self._device).sum()) == 2.0
        except RuntimeError:
            return False

    def _pause(self) -> None:
        if self._interrupt is not None:
            starts = self._attention.starts
            self._interrupt()
            self._attention.starts = starts

    def _embed_packed(self, pack: Sequence[Encoded]) -> FloatMatrix:
        lengths = [len(encoded.ids) for encoded in pack]
        ids = [token for encoded in pack for token in encoded.ids]
        if len(ids) < PACK_TOKENS_MIN:
            lengths.append(PACK_TOKENS_MIN - len(ids))
            ids += [self._filler] * lengths[-1]
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        first = self._position_start
        positions = torch.cat([torch.arange(first, first + length) for length in lengths])
        self._pause()
        self._attention.set_pack(starts, self._device)
        hidden = self._forward(ids, positions)
        rows = pool(hidden, starts[: len(pack) + 1], self._profile.pooling, self._skips(pack))
        return rows.cpu().numpy()

    def _embed_single(self, encoded: Encoded) -> FloatMatrix:
        """Embed one sequence as the model's own code does: with its own attention and positions, without padding."""
        self._pause()
        hidden = self._forward(encoded.ids, None)
        return pool(hidden, [0, len(encoded.ids)], self._profile.pooling, self._skips([encoded])).cpu().numpy()

    def _forward(self, ids: list[int], positions: torch.Tensor | None) -> torch.Tensor:
        """[tokens, width] hidden states of the last layer."""
        arguments: dict[str, object] = {} if positions is None else {"position_ids": positions[None].to(self._device)}
        tokens = torch.tensor([ids], device=self._device)
        if hasattr(self._model.config, "use_cache"):
            arguments["use_cache"] = False
        hidden: torch.Tensor = self._model(input_ids=tokens, **arguments).last_hidden_state
        return hidden[0]

    def _skips(self, pack: Sequence[Encoded]) -> list[int]:
        return [0 if self._profile.include_prompt else encoded.prompt_tokens for encoded in pack]

    def _probes(self) -> list[Encoded]:
        """Random rows of lengths that were trouble elsewhere: one token, equal lengths, more than a kernel's block."""
        generator = torch.Generator().manual_seed(0)
        rows = self._profile.vocabulary_size
        lengths = (5, 5, 1, 40, 12)
        return [Encoded(ids=torch.randint(0, rows, (length,), generator=generator).tolist()) for length in lengths]

    def _reference_vectors(self, probes: Sequence[Encoded]) -> FloatMatrix:
        """Unit vectors of the rows as the model's own code gives them, one at a time."""
        self._model.set_attn_implementation("sdpa")
        with torch.inference_mode():
            return unit(np.concatenate([self._embed_single(probe) for probe in probes]))

    def _check_packing(self, probes: Sequence[Encoded], reference: FloatMatrix) -> bool:
        """Whether packs give the model's own vectors; sets where its positions begin."""
        self._model.set_attn_implementation(self._attention.name)
        # RoBERTa and its kin count positions from behind the padding id.
        for start in (0, (getattr(self._model.config, "pad_token_id", None) or 0) + 1):
            self._position_start = start
            try:
                if self._agrees(probes, reference):
                    return True
            except PackingUnsupported as reason:
                logger.warning("packing is off: %s", reason)
                break
        logger.warning("packing is off: %s runs one sequence at a time", type(self._model).__name__)
        self._model.set_attn_implementation("sdpa")
        return False

    def _try_prepacking(self, probes: Sequence[Encoded], reference: FloatMatrix) -> bool:
        """Lay the weights out for the kernel, unless the model then computes something else."""
        replaced: list[Replaced] = []
        try:
            prepack(self._model, self._pause, replaced)
            if self._agrees(probes, reference):
                return True
        except (AttributeError, RuntimeError) as reason:
            logger.warning("weights keep their layout: %s", str(reason).splitlines()[0])
        undo(replaced)
        return False

    def _agrees(self, probes: Sequence[Encoded], reference: FloatMatrix) -> bool:
        """Whether a pack of all rows gives the vectors that the model gave for each alone."""
        tolerance = AGREEMENT[str(self._model.dtype).removeprefix("torch.")]
        return bool(np.abs(unit(self.embed(probes)) - reference).max() <= tolerance)


def unit(matrix: FloatMatrix) -> FloatMatrix:
    """Rows of norm 1."""
    scaled: FloatMatrix = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return scaled
