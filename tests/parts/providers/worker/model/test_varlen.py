"""The variable-length kernel by what it takes: functions with the arguments that three versions of torch have."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from providers.worker.model import varlen
from providers.worker.model.attention import PackedAttention

LENGTHS = (5, 5, 1, 40, 12)
WIDTH = 16


def computed(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, offsets: torch.Tensor, *, causal: bool, scale: float
) -> torch.Tensor:
    """What every version computes, with as many heads of keys as of queries; by the formula, not by torch's kernel."""
    out = torch.empty_like(query)
    for start, end in pairwise(offsets.tolist()):
        scores = torch.einsum("qhd,khd->hqk", query[start:end], key[start:end]) * scale
        if causal:
            scores += torch.full(scores.shape[1:], float("-inf")).triu(1)
        out[start:end] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value[start:end])
    return out


def repeated(query: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return other.repeat_interleave(query.shape[1] // other.shape[1], dim=1)


def of_2_10(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    is_causal: bool = False,
    return_aux: object = None,
) -> torch.Tensor:
    assert query.shape == key.shape == value.shape
    return computed(query, key, value, cu_seq_q, causal=is_causal, scale=query.shape[-1] ** -0.5)


def of_2_11(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: object = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    assert query.shape == key.shape == value.shape
    scale = scale or query.shape[-1] ** -0.5
    return computed(query, key, value, cu_seq_q, causal=window_size == (-1, 0), scale=scale)


def of_2_13(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor | None,
    max_q: int,
    max_k: int,
    *,
    return_aux: object = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: object = None,
    block_table: object = None,
    num_splits: int | None = None,
) -> torch.Tensor:
    assert enable_gqa or query.shape == key.shape
    key, value = repeated(query, key), repeated(query, value)
    return of_2_11(query, key, value, cu_seq_q, cu_seq_q, max_q, max_k, scale=scale, window_size=window_size)


def pack(heads: int, key_heads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0).to(torch.int32)
    query, key, value = (
        torch.randn(sum(LENGTHS), count, WIDTH, generator=generator) for count in (heads, key_heads, key_heads)
    )
    return query, key, value, offsets


@pytest.mark.parametrize("kernel", [of_2_10, of_2_11, of_2_13])
@pytest.mark.parametrize("scale", [None, 0.25, 0.4])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_each_version_gives_what_the_loop_gives(
    kernel: varlen.Kernel, scale: float | None, causal: bool, key_heads: int
) -> None:
    query, key, value, offsets = pack(4, key_heads)
    found = varlen.attend(kernel, query, key, value, offsets=offsets, longest=max(LENGTHS), causal=causal, scale=scale)
    attention = PackedAttention()
    attention.set_pack(offsets.tolist(), torch.device("cpu"))
    module = torch.nn.Module()
    module.is_causal = causal  # type: ignore[assignment]
    queries, keys, values = (one.transpose(0, 1)[None] for one in (query, key, value))
    looped, _ = attention(module, queries, keys, values, None, scaling=scale)
    assert torch.allclose(found, looped[0], atol=1e-5)


def test_the_installed_torch_is_called_with_arguments_it_takes() -> None:
    takes = varlen.parameters_of(varlen.installed_kernel())
    assert {"window_size", "scale"} <= takes or "is_causal" in takes
    assert varlen.parameters_of(of_2_13) <= takes | {"is_causal"} or "enable_gqa" not in takes


def test_a_kernel_for_half_types_on_a_gpu_is_not_tried_elsewhere() -> None:
    assert not varlen.applies(torch.zeros(1, 4, 8, WIDTH))
    assert not varlen.applies(torch.zeros(1, 4, 8, WIDTH, dtype=torch.bfloat16))


def test_the_formula_is_torchs_own() -> None:
    """So that the two above are compared with something that neither of them is."""
    query, key, value, offsets = pack(4, 4)
    found = computed(query, key, value, offsets, causal=True, scale=WIDTH**-0.5)
    rows = slice(11, 51)
    queries, keys, values = (part[rows].transpose(0, 1) for part in (query, key, value))
    one = scaled_dot_product_attention(queries, keys, values, is_causal=True)
    assert torch.allclose(found[rows], one.transpose(0, 1), atol=1e-5)
