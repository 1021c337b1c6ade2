"""``python -m bench.gpu.document``: write what a GPU measured into ``docs/worker-roofline.md``, from the newest run.

Without a run of a GPU the page says that nothing is measured yet; a run on a CPU is none. Nothing is estimated into
the place of a measurement. What stands between a block's two comment lines is replaced, all else is left alone.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.gpu.cost import ESTIMATE, LENGTH, MFU, Cost, card_of, costs, date_and_commit
from bench.gpu.records import Record, figure, figures, number, read
from bench.gpu.report import table
from providers.worker.model.family import SHAPES, Shape
from providers.worker.model.roofline import GPUS, Gpu, busy_to_break_even, fits, flops_per_token, tokens_per_second

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "worker-roofline.md"
RESULTS = ROOT / "bench" / "results"
NOT_YET = "not measured yet"
NONE = "\N{EN DASH}"
# One column for cards whose peaks are the same.
COLUMNS = (("H100, H200", "H100"), ("RTX 4090", "RTX 4090"), ("L4", "L4"), ("A10G", "A10G"))
MARKED = "4B"


def newest(folder: Path = RESULTS) -> Path | None:
    """The latest kept run that was made on a GPU."""
    kept = sorted(folder.glob("*-gpu.jsonl"), reverse=True)
    return next((path for path in kept if _on_gpu(read(path))), None)


def update(text: str, records: Sequence[Record], source: str = "") -> str:
    """The page with both blocks written anew; ``records`` are empty where no GPU has run."""
    blocks: dict[str, Callable[[], Iterator[str]]] = {
        "bounds": lambda: bounds_block(records),
        "measured": lambda: measured_block(records, source),
    }
    for name, lines in blocks.items():
        pattern = re.compile(rf"(<!-- {name}: [^\n]*-->\n)(.*?)(<!-- end of {name} -->)", re.DOTALL)
        body = "\n".join(lines()).strip("\n") + "\n"
        text, found = pattern.subn(lambda match, body=body: match[1] + body + match[3], text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"the page has {found} blocks named {name}, not one")
    return text


def bounds_block(records: Sequence[Record]) -> Iterator[str]:
    """The bounds at the roofline's length, and the measured rates in the last column."""
    rates = {cost.size: cost for cost in costs(records) if cost.length == LENGTH}
    head = f"measured: {_credit(records)}" if rates else "measured"
    rows = []
    for shape in SHAPES:
        marks = "**" if shape.name == MARKED else ""
        found = rates.get(shape.name)
        last = (_format_rate(found.tokens_per_s) if found else NONE) if rates else NOT_YET
        cells = [shape.name, _gflops(shape), *(_format_bound(shape, name) for _, name in COLUMNS), last]
        rows.append([f"{marks}{cell}{marks}" if cell != NOT_YET else cell for cell in cells])
    yield from table(["size", "GFLOP/token", *(head for head, _ in COLUMNS), head], rows)


def measured_block(records: Sequence[Record], source: str) -> Iterator[str]:
    """Rate, utilization and price of each size that was measured, and what the estimate needs."""
    found = costs(records)
    if not found:
        yield f"**{NOT_YET.capitalize()}**: no GPU has run `python -m bench.gpu` so far; its figures are still to"
        yield "come, and nothing is estimated into the place of a measurement. A run fills in card, date and commit,"
        yield "tokens per second and MFU against that card's measured peak, the price at its rents beside the bound"
        yield f"above, and up to which rent ${ESTIMATE:g} pays for each size."
        return
    peak = number(figure(records, "card", next(figures(records, "card")).size, "peak"), "tflops")
    yield f"{_credit(records)} ({source}). The card multiplied at {peak:.0f} TFLOPS in the same run; MFU is the"
    yield "share of that. Prices are dollars per million tokens in an hour that is never idle, in brackets the bound at"
    yield f"MFU {MFU:.0%}."
    yield ""
    heads = ["size", "tokens per text", "tokens/s", "MFU", *(f"${rent:.2f}/h" for rent, _, _ in found[0].prices)]
    yield from table(heads, [_price_row(cost) for cost in found])
    for cost in found:
        yield f"- {_requirement(cost)}"


def main(arguments: Sequence[str]) -> int:
    path = Path(arguments[0]) if arguments else newest()
    records = read(path) if path else []
    if path and not _on_gpu(records):
        sys.stderr.write(f"{path} is not a run on a GPU.\n")
        return 2
    PAGE.write_text(update(PAGE.read_text(), records, f"`bench/results/{path.name}`" if path else ""))
    return 0


def _on_gpu(records: Sequence[Record]) -> bool:
    return any(str(one.values.get("device", "")).startswith("cuda") for one in figures(records, "card"))


def _credit(records: Sequence[Record]) -> str:
    date, commit = date_and_commit(records)
    return f"{card_of(records)}, {date}, commit {commit}"


def _price_row(cost: Cost) -> list[str]:
    prices = [f"{price:.4f}" + (f" ({bound:.4f})" if bound is not None else "") for _, bound, price in cost.prices]
    return [cost.size, str(cost.length), _format_rate(cost.tokens_per_s), f"{cost.mfu:.0%}", *prices]


def _requirement(cost: Cost) -> str:
    busy = ", ".join(
        f"{busy_to_break_even(rent, cost.tokens_per_s, ESTIMATE):.0%} at ${rent:.2f}/h" for rent, _, _ in cost.prices
    )
    return (
        f"At ${ESTIMATE:g} the {cost.size} has to be busy {busy} (above 100% it is a loss at any load): an hour that "
        f"is never idle may cost ${cost.rent_of_estimate:.2f} at most."
    )


def _format_bound(shape: Shape, name: str) -> str:
    gpu = next(gpu for gpu in GPUS if gpu.name == name)
    return _format_rate(_bound(shape, gpu)) if fits(shape, gpu) else NONE


def _bound(shape: Shape, gpu: Gpu) -> float:
    return tokens_per_second(shape, gpu, MFU, LENGTH)


def _gflops(shape: Shape) -> str:
    found = flops_per_token(shape, LENGTH) / 1e9
    return f"{found:.2f}" if found < 10 else f"{found:.1f}"


def _format_rate(tokens_s: float) -> str:
    if tokens_s >= 1e6:
        return f"{tokens_s / 1e6:.2f}M"
    return f"{tokens_s / 1e3:.0f}k" if tokens_s >= 1e4 else f"{tokens_s / 1e3:.1f}k"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
