"""The variable-length kernel alone: ways to call it that the worker might use instead, by time and by bits.

Heads of keys are repeated where the function takes no ``enable_gqa``; whether its kernel would take fewer of them as
they are is tried here. So is ``num_splits=1``, which is said to make a sequence's bits independent of its neighbors.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention

from bench.gpu.records import Values
from bench.gpu.session import Figures, Session
from providers.worker.model import varlen

LENGTHS = (16, 256)


def loop_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    num_splits: int | None = None,
) -> torch.Tensor:
    """The kernel's contract in a plain call per sequence: what it must equal, and what stands in for it on a CPU."""
    out = torch.empty_like(query)
    for start, end in pairwise(cu_seq_q.tolist()):
        rows = slice(start, end)
        heads = (query[rows].transpose(0, 1), key[rows].transpose(0, 1), value[rows].transpose(0, 1))
        causal = window_size == (-1, 0)
        one = scaled_dot_product_attention(*heads, is_causal=causal, scale=scale, enable_gqa=enable_gqa)
        out[rows] = one.transpose(0, 1)
    return out


class Pack:
    """Sequences of one length with the shape's heads, and where they begin."""

    def __init__(self, session: Session, length: int, sequences: int) -> None:
        shape, tokens = session.shape, length * sequences
        generator = torch.Generator(session.device).manual_seed(0)
        self.length = length
        self.offsets = torch.arange(0, tokens + 1, length, dtype=torch.int32, device=session.device)
        self.query, self.key, self.value = (
            torch.randn(tokens, heads, shape.head_width, device=session.device, generator=generator).bfloat16()
            for heads in (shape.heads, shape.key_heads, shape.key_heads)
        )

    def attend(self, kernel: varlen.Kernel) -> torch.Tensor:
        """As the worker does it."""
        tensors = (self.query, self.key, self.value)
        return varlen.attend(kernel, *tensors, offsets=self.offsets, longest=self.length, causal=True, scale=None)

    def call(self, kernel: varlen.Kernel, **arguments: object) -> torch.Tensor:
        """The kernel itself."""
        tensors = (self.query, self.key, self.value, self.offsets, self.offsets)
        found = kernel(*tensors, self.length, self.length, window_size=(-1, 0), **arguments)
        assert isinstance(found, torch.Tensor)
        return found


def attention(session: Session) -> Figures:
    """A whole pack of short and of middling texts, with the shape's heads."""
    kernel: varlen.Kernel = varlen.installed_kernel() if session.on_gpu else loop_kernel
    for length in LENGTHS:
        sequences = max(2, session.budget // length)
        pack = Pack(session, length, sequences)
        expected = pack.call(loop_kernel, enable_gqa=True)
        yield f"as the worker, {length}", _measure(session, partial(pack.attend, kernel), expected)
        for name, arguments in _others(kernel).items():
            yield f"{name}, {length}", _measure_if_supported(session, partial(pack.call, kernel, **arguments), expected)


def _others(kernel: varlen.Kernel) -> dict[str, dict[str, object]]:
    takes = varlen.parameters_of(kernel)
    grouped: dict[str, object] = {"enable_gqa": True} if "enable_gqa" in takes else {}
    ways: dict[str, dict[str, object]] = {"heads as they are": grouped}
    if "num_splits" in takes:
        ways["one split"] = grouped | {"num_splits": 1}
    return ways


def _measure_if_supported(session: Session, work: Callable[[], torch.Tensor], expected: torch.Tensor) -> Values:
    """A way that may not exist."""
    try:
        return _measure(session, work, expected)
    except (RuntimeError, ValueError, TypeError) as refusal:
        return {"refused": str(refusal).splitlines()[0][:200]}


def _measure(session: Session, work: Callable[[], torch.Tensor], expected: torch.Tensor) -> Values:
    with torch.inference_mode():
        found = work()
        return {
            "call_ms": 1e3 * session.timed(work, session.amount.repeats),
            "difference_max": float((found.float() - expected.float()).abs().max()),
        }
