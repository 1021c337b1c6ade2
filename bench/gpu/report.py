"""A run's records as one Markdown page: goals first, then the price, then every figure, then how the steps went."""

from collections.abc import Iterator, Sequence

from bench.gpu.cost import ESTIMATE, MFU, card_of, costs, date_and_commit
from bench.gpu.goals import goals
from bench.gpu.records import RUN, Record, Value

VERDICTS = {True: "reached", False: "**not reached**", None: "not measured"}


def page(records: Sequence[Record], rents: Sequence[float] = ()) -> str:
    """The whole page."""
    date, commit = date_and_commit(records)
    lines = [
        f"# The worker on {card_of(records)}, {date}, commit {commit}",
        "",
        *_goals(records),
        *_cost(records, rents),
        *_figures(records),
        *_steps(records),
    ]
    return "\n".join(lines).rstrip() + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Markdown, with an empty line after it."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
    yield ""


def format_value(value: Value) -> str:
    """A number in six digits at most, anything else as it is."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.6g}"
    return str(value)


def _goals(records: Sequence[Record]) -> Iterator[str]:
    rows = [[one.size, one.promise, one.measured, VERDICTS[one.reached]] for one in goals(records)]
    yield "## Goals"
    yield ""
    yield from table(["size", "promise", "measured", "verdict"], rows)


def _cost(records: Sequence[Record], rents: Sequence[float]) -> Iterator[str]:
    found = costs(records, rents)
    if not found:
        return
    heads = ["size", "tokens per text", "tokens/s", "MFU", *(f"${rent:.2f}/h" for rent, _, _ in found[0].prices)]
    rows = [
        [
            one.size,
            str(one.length),
            format_value(one.tokens_per_s),
            f"{one.mfu:.0%}",
            *(f"{measured:.4f}" + (f" (bound {bound:.4f})" if bound else "") for _, bound, measured in one.prices),
        ]
        for one in found
    ]
    yield f"## Dollars per million tokens, never idle; in brackets the roofline's bound at MFU {MFU:.0%}"
    yield ""
    yield from table(heads, rows)
    for one in found:
        yield f"- ${ESTIMATE:g} pays for the {one.size} up to ${one.rent_of_estimate:.2f} per hour that is never idle."
    yield ""


def _figures(records: Sequence[Record]) -> Iterator[str]:
    steps = dict.fromkeys(record.step for record in records if record.kind == "figure")
    for step in steps:
        own = [record for record in records if record.kind == "figure" and record.step == step]
        heads = list(dict.fromkeys(name for record in own for name in record.values))
        rows = [[one.size, one.name, *(format_value(one.values.get(head)) for head in heads)] for one in own]
        yield f"## {step}"
        yield ""
        yield from table(["size", "what", *heads], rows)


def _steps(records: Sequence[Record]) -> Iterator[str]:
    rows = [
        [one.size, one.step, one.state, f"{one.seconds:.1f}", one.reason.replace("\n", " ")[:300]]
        for one in records
        if one.kind == "end" and one.size != RUN
    ]
    yield "## Steps"
    yield ""
    yield from table(["size", "step", "state", "seconds", "reason"], rows)
