"""Pure. Writes a plan as lines for people and as JSON for programs, with the same facts in both."""

from collections.abc import Iterator, Sequence

import msgspec

from billing.money import to_usd
from router.manifest.values import Drift, Fields, Impact, Margin, Plan, PlanStep, Verb

SIGNS = {Verb.CREATE: "+", Verb.CHANGE: "~", Verb.LAUNCH: ">", Verb.DRAIN: "-", Verb.OFF: "-"}
ENDS = {Verb.DRAIN: "drained", Verb.OFF: "turned off"}
# A catalogue may state thousands of fields; a line shows this much of one value.
VALUE_CHARACTERS_MAX = 120


def plan_lines(plan: Plan, *, applied: bool = False) -> Iterator[str]:
    """The plan line by line; ``applied`` says whether it has been applied."""
    diff = plan.diff
    if not plan.needs_action and not plan.waiting:
        yield "Nothing to do."
    for fault in diff.faults:
        yield f"FAULT {fault}"
    yield from (_step_line(step) for step in diff.steps)
    for drift in diff.conflicts:
        yield f"CONFLICT {drift_line(drift)}"
    for orphan in diff.orphans:
        end = ENDS[orphan.prune_verb]
        yield f"? {orphan.kind} {orphan.subject}: no longer in the file; with prune it is {end}"
    for drift in diff.accepted:
        yield f"= {drift_line(drift)}; left as it is"
    yield from _impact_lines(plan.impact)
    for sentence in plan.waiting:
        yield f"WAITS {sentence}"
    if not diff.conflicts:
        yield from (f"REFUSED {sentence}" for sentence in plan.refusals)
    if diff.steps:
        count = "1 change" if len(diff.steps) == 1 else f"{len(diff.steps)} changes"
        yield f"{count} made." if applied else f"{count} to make."


def plan_json(plan: Plan) -> Fields:
    """The plan as JSON; amounts are in USD per million tokens, as text."""
    diff, impact = plan.diff, plan.impact
    return {
        "object": "catalogue_plan",
        "steps": [_json(step, ("verb", "kind", "subject", "path", "changes")) for step in diff.steps],
        "conflicts": [_json(drift) for drift in diff.conflicts],
        "kept": [_json(drift) for drift in diff.accepted],
        "no_longer_in_file": [_json(orphan) for orphan in diff.orphans],
        "faults": [_json(fault) for fault in diff.faults],
        "waiting": list(plan.waiting),
        "refused": list(plan.refusals),
        "margins": [_margin_json(row) for row in impact.margins],
        "endpoints_that_stop": list(impact.stopping),
        "endpoints_out_until_they_pass_their_probes": list(impact.unverified),
        "models_without_live_endpoint": list(impact.without_live_endpoint),
        "customers_last_30_days": [
            {"model": row.model, "accounts": row.accounts, "calls": row.calls, "charged_usd": to_usd(row.charged)}
            for row in impact.customers
        ],
        "something_to_do": plan.needs_action,
    }


def _json(value: msgspec.Struct, names: tuple[str, ...] = ()) -> Fields:
    facts: Fields = msgspec.to_builtins(value)
    return {name: facts[name] for name in names or facts}


def _step_line(step: PlanStep) -> str:
    sign, head = SIGNS[step.verb], f"{step.kind} {step.subject}"
    match step.verb:
        case Verb.LAUNCH:
            return f"{sign} {head}: goes live"
        case Verb.DRAIN | Verb.OFF:
            return f"{sign} {head}: no longer in the file, is {ENDS[step.verb]}"
        case Verb.CREATE:
            return f"{sign} {head}: " + ", ".join(f"{change.field} {_value(change.after)}" for change in step.changes)
        case Verb.CHANGE:
            moves = (f"{change.field} {_value(change.before)} -> {_value(change.after)}" for change in step.changes)
            return f"{sign} {head}: " + ", ".join(moves)


def drift_line(drift: Drift) -> str:
    """Where a field drifted, and its value at the last apply, now and in the file."""
    last = f"applied last {_value(drift.last)}" if drift.was_applied else "never applied from here"
    return f"{drift.path} of {drift.subject}: {last}, now {_value(drift.current)}, the file {_value(drift.file)}"


def loss_lines(plan: Plan) -> Iterator[str]:
    """The margins below zero, where the others are not shown."""
    yield from _margin_lines([row for row in plan.impact.margins if row.is_loss])


def _margin_lines(rows: Sequence[Margin]) -> Iterator[str]:
    """A line for each endpoint, lane and instant."""
    if rows:
        yield "Margins in USD per million tokens:"
    for row in rows:
        loss = "  LOSS" if row.is_loss else ""
        before = "-" if row.before is None else to_usd(row.before)
        yield (
            f"  {row.endpoint} ({row.lane}, from {row.since:%Y-%m-%d %H:%M}Z): price {to_usd(row.price)}, "
            f"cost {to_usd(row.cost)}, margin {before} -> {to_usd(row.after)} ({row.percent}){loss}"
        )


def _impact_lines(impact: Impact) -> Iterator[str]:
    yield from _margin_lines(impact.margins)
    for name in impact.stopping:
        yield f"STOPS {name}"
    for name in impact.unverified:
        yield f"OUT UNTIL IT PASSES ITS PROBES {name}"
    for model in impact.without_live_endpoint:
        yield f"WITHOUT A LIVE ENDPOINT {model}"
    if impact.models and impact.customers:
        yield "Customers of the last 30 days:"
    for row in impact.customers:
        accounts = "1 account" if row.accounts == 1 else f"{row.accounts:,} accounts"
        yield f"  {row.model}: {accounts}, {row.calls:,} calls, {to_usd(row.charged)} USD"


def _margin_json(row: Margin) -> Fields:
    return {
        "model": row.model,
        "endpoint": row.endpoint,
        "lane": row.lane,
        "since": row.since.isoformat(),
        "price_usd_per_mtok": to_usd(row.price),
        "cost_usd_per_mtok": to_usd(row.cost),
        "margin_before_usd_per_mtok": None if row.before is None else to_usd(row.before),
        "margin_usd_per_mtok": to_usd(row.after),
        "margin_percent": row.percent,
        "loss": row.is_loss,
    }


def _value(value: object) -> str:
    text = value if isinstance(value, str) and value else msgspec.json.encode(value).decode()
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[: VALUE_CHARACTERS_MAX - 1]}…"
