"""Pure. Computes what a GPU can do with each size, and the price per million tokens at which it pays for itself.

    FLOPs per token   2 · N + 2 · L · H · d · S        N parameters without the embedding table, L layers, H heads of
                                                       width d, S mean length: causal attention sees S / 2 keys
    tokens per second peak · MFU / FLOPs per token
    $ per 1M tokens   $ per hour · 1e6 / (3600 · tokens per second · busy)

MFU is the share of the peak that the model's arithmetic reaches, busy the share of the hour in which there is work.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence

import msgspec

from providers.worker.model.family import SHAPES, Shape


class Gpu(msgspec.Struct, frozen=True):
    """One kind of GPU. ``tflops`` is the dense bfloat16 peak by its data sheet; ``dollars`` an hour in 2026."""

    name: str
    tflops: float
    memory_gib: int
    dollars: tuple[float, ...]


GPUS = (
    Gpu("H100", 989, 80, (1.50, 2.00, 2.50, 3.95)),
    Gpu("H200", 989, 141, (2.50, 3.50)),
    Gpu("RTX 4090", 165, 24, (0.37,)),
    Gpu("L4", 121, 24, (0.44, 0.80)),
    Gpu("A10G", 70, 24, (0.50, 1.01)),
)
# Weights in bfloat16 may take this share of the memory; the rest is for a step's activations.
MEMORY_SHARE = 0.85
# Below a billion parameters a GPU is faster than the processor that tokenizes and serializes for it.
CPU_BOUND_PARAMETERS = 1_000_000_000


def flops_per_token(shape: Shape, mean_tokens: float) -> float:
    """The multiplications and additions for one token of a text of ``mean_tokens``."""
    attention = 2 * shape.layers * shape.heads * shape.head_width * mean_tokens
    return 2 * shape.computed + attention


def tokens_per_second(shape: Shape, gpu: Gpu, mfu: float, mean_tokens: float) -> float:
    """The bound on one GPU that is never idle."""
    return gpu.tflops * 1e12 * mfu / flops_per_token(shape, mean_tokens)


def dollars_per_million(dollars_per_hour: float, tokens_s: float, busy: float) -> float:
    """The price per million tokens at which the hour is paid."""
    return dollars_per_hour * 1e6 / (3600 * tokens_s * busy)


def busy_to_break_even(dollars_per_hour: float, tokens_s: float, price: float) -> float:
    """The share of the hour that must be sold at ``price`` per million; above 1 every load is a loss."""
    return dollars_per_million(dollars_per_hour, tokens_s, 1.0) / price


def fits(shape: Shape, gpu: Gpu) -> bool:
    """Whether the weights in bfloat16 leave room for work."""
    return 2 * shape.parameters <= MEMORY_SHARE * gpu.memory_gib * (1 << 30)


def report(*, mfu: float, mean_tokens: float, busy: float, price: float) -> str:
    """The tables, as text."""
    heads = [f"{gpu.name} at ${cost:.2f}/h" for gpu in GPUS for cost in gpu.dollars]
    costs = [(gpu, cost) for gpu in GPUS for cost in gpu.dollars]
    rate_rows, price_rows, busy_rows = [], [], []
    for shape in SHAPES:
        rates = {gpu.name: tokens_per_second(shape, gpu, mfu, mean_tokens) for gpu in GPUS}
        flops = f"{flops_per_token(shape, mean_tokens) / 1e9:.2f}"
        mark = " *" if shape.parameters < CPU_BOUND_PARAMETERS else ""
        rate_rows.append(
            [shape.name + mark, flops, *(_rate(rates[gpu.name]) if fits(shape, gpu) else "-" for gpu in GPUS)]
        )
        paid = [
            f"{dollars_per_million(cost, rates[gpu.name], busy):.4f}" if fits(shape, gpu) else "-"
            for gpu, cost in costs
        ]
        price_rows.append([shape.name, *paid])
        even = [busy_to_break_even(cost, rates[gpu.name], price) for gpu, cost in costs]
        busy_rows.append(
            [
                shape.name,
                *(f"{share:.0%}" if fits(shape, gpu) else "-" for share, (gpu, _) in zip(even, costs, strict=True)),
            ]
        )
    settings = f"MFU {mfu:.0%}, mean length {mean_tokens:.0f} tokens"
    return "\n\n".join(
        (
            (__doc__ or "").partition("\n\n")[2].rstrip(),
            _table(
                f"Tokens per second, at most ({settings})",
                ["size", "GFLOP/token", *(gpu.name for gpu in GPUS)],
                rate_rows,
            ),
            "*  tokenizing and serializing on the processor bind first: do not plan with these.",
            _table(f"$ per 1M tokens at which it pays for itself (busy {busy:.0%})", ["size", *heads], price_rows),
            _table(
                f"Busy share needed at ${price:g} per 1M (above 100%: a loss at any load)", ["size", *heads], busy_rows
            ),
        )
    )


def main(argv: Sequence[str]) -> int:
    """Print the tables: ``roofline``."""
    parser = argparse.ArgumentParser(prog="gigarouter worker roofline", description="What a GPU can do, and its price.")
    parser.add_argument(
        "--mfu", type=float, default=0.5, help="share of the peak that is reached; 0.35 to 0.6 is usual"
    )
    parser.add_argument("--mean-tokens", type=float, default=512.0, help="mean length of a text")
    parser.add_argument("--busy", type=float, default=1.0, help="share of the hour with work")
    parser.add_argument("--price", type=float, default=0.008, help="$ per 1M tokens to compare with")
    options = parser.parse_args(argv)
    if not (0 < options.mfu <= 1 and 0 < options.busy <= 1 and options.mean_tokens >= 1 and options.price > 0):
        parser.error("mfu and busy are shares above 0 and up to 1, the mean length is at least 1, the price above 0")
    text = report(mfu=options.mfu, mean_tokens=options.mean_tokens, busy=options.busy, price=options.price)
    sys.stdout.write(text + "\n")
    return 0


def _rate(tokens_s: float) -> str:
    return f"{tokens_s / 1e6:.2f}M" if tokens_s >= 1e6 else f"{tokens_s / 1e3:.1f}k"


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join((title, *(f"  {line}" for line in lines)))
