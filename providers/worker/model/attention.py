"""Computes attention over a pack: sequences end to end, each attending to itself only, without padding or mask.

On CUDA one variable-length kernel does the pack where there is one (half-precision types); elsewhere each sequence
gets its own call of the exact kernel. Both give a sequence the same numbers whatever else is in the pack.
"""

from collections.abc import Callable, Sequence
from itertools import count, pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from providers.worker.model import varlen

_names = count()


# Multiplications (query rows by key rows by width by heads) in one call of the kernel: about 5 ms on one core.
WORK_BETWEEN_PAUSES = 1 << 29


def _no_pause() -> None:
    """Do nothing: nothing waits."""


class PackingUnsupported(Exception):
    """The model asks its attention for something that a pack cannot give (a window, a bias)."""


class PackedAttention:
    """One model's attention function, registered under a name of its own so that no mask is built for it.

    ``starts`` are the offsets of the sequences in the pack and, last, the pack's length; set them before each forward.
    ``pause`` is called between sequences, and between groups of heads of a long one: a place to make way for others.
    """

    def __init__(self) -> None:
        self.pause: Callable[[], None] = _no_pause
        self.name = f"gigarouter_packed_{next(_names)}"
        self.starts: Sequence[int] = ()
        self._offsets: torch.Tensor | None = None
        self._longest = 0
        AttentionInterface.register(self.name, self)

    def set_pack(self, starts: Sequence[int], device: torch.device) -> None:
        """Set where the sequences of the next forward begin and end."""
        self.starts = starts
        if device.type == "cuda":
            self._offsets = torch.tensor(starts, dtype=torch.int32, device=device)
            self._longest = max(end - start for start, end in pairwise(starts))

    def __call__(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        **kwargs: object,
    ) -> tuple[torch.Tensor, None]:
        """Attend to each sequence alone.

        ``query`` is [1, heads, tokens, width], the others have as many heads or fewer; returns [1, tokens, heads,
        width].
        """
        if (
            attention_mask is not None
            or kwargs.get("sliding_window") is not None
            or kwargs.get("position_bias") is not None
        ):
            raise PackingUnsupported(f"{type(module).__name__} wants a mask, a window or a bias")
        causal = bool(getattr(module, "is_causal", False))
        if varlen.applies(query):
            return self._variable_length(query, key, value, causal, scaling), None
        starts = self.starts
        out = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
        for start, end in pairwise(starts):
            rows = slice(start, end)
            sequence = (query[:, :, rows], key[:, :, rows], value[:, :, rows])
            self._attend(*sequence, out=out[:, rows], causal=causal, scaling=scaling)
        return out, None

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        out: torch.Tensor,
        causal: bool,
        scaling: float | None,
    ) -> None:
        """Fill ``out`` [1, length, heads, width], a few heads at a time where the sequence is long."""
        queries, keys = query.shape[1], key.shape[1]
        work = query.shape[2] ** 2 * query.shape[3]
        step = max(1, min(keys, keys * WORK_BETWEEN_PAUSES // max(1, work * queries)))
        group = queries // keys
        for first in range(0, keys, step):
            self.pause()
            heads = slice(first * group, (first + step) * group)
            out[:, :, heads] = scaled_dot_product_attention(
                query[:, heads],
                key[:, first : first + step],
                value[:, first : first + step],
                is_causal=causal,
                scale=scaling,
                enable_gqa=group > 1,
            ).transpose(1, 2)

    def _variable_length(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool, scaling: float | None
    ) -> torch.Tensor:
        assert self._offsets is not None, "set_pack was not called; this is a bug"
        attended = varlen.attend(
            varlen.installed_kernel(),
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            offsets=self._offsets,
            longest=self._longest,
            causal=causal,
            scale=scaling,
        )
        return attended.unsqueeze(0)
