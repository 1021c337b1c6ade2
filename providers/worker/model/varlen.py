"""Computes the attention of a whole pack by torch's variable-length kernel, with the arguments that this torch has.

The kernel's Python function has grown: torch 2.12 takes ``enable_gqa``, 2.11 takes windows and a scale but not that,
2.10 took ``is_causal`` only. Where the function lacks a parameter, its effect is computed beforehand.
"""

import inspect
import math
from collections.abc import Callable
from functools import cache

import torch

Kernel = Callable[..., object]

HALF = (torch.bfloat16, torch.float16)
# The kernels exist from Ampere on, and read rows in steps of eight numbers.
CAPABILITY_MIN = (8, 0)
WIDTH_STEP = 8
WIDTH_MAX = 256


def applies(query: torch.Tensor) -> bool:
    """Whether the kernel exists for these numbers on this device: half-precision types on a GPU from Ampere on."""
    width = query.shape[-1]
    if query.device.type != "cuda" or query.dtype not in HALF or width % WIDTH_STEP or width > WIDTH_MAX:
        return False
    return _capability(query.device) >= CAPABILITY_MIN


def attend(
    kernel: Kernel,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    offsets: torch.Tensor,
    longest: int,
    causal: bool,
    scale: float | None,
) -> torch.Tensor:
    """Attend to each sequence of a pack alone.

    ``query`` is [tokens, heads, width], the others have as many heads or fewer; returns [tokens, heads, width].
    ``offsets`` [sequences + 1] int32 are where the sequences begin, and ``longest`` is the longest one's length.
    """
    takes = parameters_of(kernel)
    arguments: dict[str, object] = {}
    if "window_size" in takes:
        arguments["window_size"] = (-1, 0) if causal else (-1, -1)
    else:
        arguments["is_causal"] = causal
    if "scale" in takes:
        arguments["scale"] = scale
    elif scale is not None and not math.isclose(scale * math.sqrt(query.shape[-1]), 1.0):
        query = query * (scale * math.sqrt(query.shape[-1]))
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and "enable_gqa" in takes:
        arguments["enable_gqa"] = True
    elif groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    attended = kernel(query, key, value, offsets, offsets, longest, longest, **arguments)
    assert isinstance(attended, torch.Tensor), "only the output was asked for; this is a bug"
    return attended


@cache
def parameters_of(kernel: Kernel) -> frozenset[str]:
    """The names of the function's parameters."""
    return frozenset(inspect.signature(kernel).parameters)


@cache
def installed_kernel() -> Kernel:
    """This torch's function. It can be imported anywhere; it runs on CUDA only."""
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
