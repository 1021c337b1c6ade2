"""Attention over a pack: sequences laid end to end, each attending to itself only, no padding and no mask.

On a CPU each sequence gets its own call of the exact kernel; on CUDA one variable-length kernel does the pack. Both
give a sequence the same numbers whatever stands beside it.
"""

from collections.abc import Sequence
from itertools import count, pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

_names = count()


class PackingUnsupported(Exception):
    """The model asks its attention for something that a pack cannot give (a window, a bias)."""


class PackedAttention:
    """One model's attention function, registered under a name of its own so that no mask is built for it.

    ``starts`` are the offsets of the sequences in the pack and, last, the pack's length; set them before each forward.
    """

    def __init__(self) -> None:
        self.name = f"gigarouter_packed_{next(_names)}"
        self.starts: Sequence[int] = ()
        self._offsets: torch.Tensor | None = None
        self._longest = 0
        AttentionInterface.register(self.name, self)

    def set_pack(self, starts: Sequence[int], device: torch.device) -> None:
        """Say where the sequences of the next forward begin and end."""
        self.starts = starts
        if device.type == "cuda":
            self._offsets = torch.tensor(starts, dtype=torch.int32, device=device)
            self._longest = max(end - start for start, end in pairwise(starts))

    def __call__(  # noqa: PLR0917 - the signature is transformers'
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        **kwargs: object,
    ) -> tuple[torch.Tensor, None]:
        """``query`` [1, heads, tokens, width], the others with as many heads or fewer -> [1, tokens, heads, width]."""
        if (
            attention_mask is not None
            or kwargs.get("sliding_window") is not None
            or kwargs.get("position_bias") is not None
        ):
            raise PackingUnsupported(f"{type(module).__name__} wants a mask, a window or a bias")
        causal = bool(getattr(module, "is_causal", False))
        if query.device.type == "cuda":
            return self._variable_length(query, key, value, causal, scaling), None
        grouped = query.shape[1] != key.shape[1]
        out = torch.empty(1, query.shape[2], query.shape[1], query.shape[3], dtype=query.dtype)
        for start, end in pairwise(self.starts):
            out[:, start:end] = scaled_dot_product_attention(
                query[:, :, start:end],
                key[:, :, start:end],
                value[:, :, start:end],
                is_causal=causal,
                scale=scaling,
                enable_gqa=grouped,
            ).transpose(1, 2)
        return out, None

    def _variable_length(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool, scaling: float | None
    ) -> torch.Tensor:
        from torch.nn.attention.varlen import varlen_attn  # CUDA only: its kernels do not exist elsewhere

        assert self._offsets is not None, "set_pack was not called; this is a bug"
        attended = varlen_attn(
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            self._offsets,
            self._offsets,
            self._longest,
            self._longest,
            scale=scaling,
            window_size=(-1, 0) if causal else (-1, -1),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        assert isinstance(attended, torch.Tensor), "only asked for the output; this is a bug"
        return attended.unsqueeze(0)
