"""A plan in words for people, and as JSON for machines: the same facts. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from billing.money import to_usd
from router.manifest.values import Drift, Fields, Impact, Margin, Plan, Step, Verb

SIGNS = {Verb.CREATE: "+", Verb.CHANGE: "~", Verb.LAUNCH: ">", Verb.DRAIN: "-", Verb.OFF: "-"}
ENDS = {Verb.DRAIN: "drained", Verb.OFF: "turned off"}
# An export of a whole catalogue states thousands of fields; a line shows this much of one.
SHOWN = 120


def told(plan: Plan, *, done: bool = False) -> Iterator[str]:
    """Line by line. ``done``: it was applied."""
    found = plan.difference
    if not plan.has_something_to_do and not plan.waiting:
        yield "Nothing to do."
    for fault in found.faults:
        yield f"FAULT {fault}"
    yield from (_step(step) for step in found.steps)
    for drift in found.conflicts:
        yield f"CONFLICT {changed_elsewhere(drift)}"
    for one in found.vanished:
        yield f"? {one.kind} {one.subject}: no longer in the file; with prune it is {ENDS[one.would]}"
    for drift in found.kept:
        yield f"= {changed_elsewhere(drift)}; left as it is"
    yield from _whom(plan.impact)
    for says in plan.waiting:
        yield f"WAITS {says}"
    if not found.conflicts:
        yield from (f"REFUSED {says}" for says in plan.refused)
    if found.steps:
        count = "1 change" if len(found.steps) == 1 else f"{len(found.steps)} changes"
        yield f"{count} made." if done else f"{count} to make."


def as_json(plan: Plan) -> Fields:
    """The plan as JSON; amounts are USD per million tokens as text."""
    found, affected = plan.difference, plan.impact
    return {
        "object": "catalogue_plan",
        "steps": [_json(step, ("verb", "kind", "subject", "path", "changes")) for step in found.steps],
        "conflicts": [_json(drift) for drift in found.conflicts],
        "kept": [_json(drift) for drift in found.kept],
        "no_longer_in_file": [_json(one) for one in found.vanished],
        "faults": [_json(fault) for fault in found.faults],
        "waiting": list(plan.waiting),
        "refused": list(plan.refused),
        "margins": [_margin_json(row) for row in affected.margins],
        "endpoints_that_stop": list(affected.stops),
        "endpoints_out_until_they_pass_their_probes": list(affected.unproven),
        "models_without_live_endpoint": list(affected.stranded),
        "customers_last_30_days": [
            {"model": one.model, "accounts": one.accounts, "calls": one.calls, "charged_usd": to_usd(one.charged)}
            for one in affected.customers
        ],
        "something_to_do": plan.has_something_to_do,
    }


def _json(value: msgspec.Struct, names: tuple[str, ...] = ()) -> Fields:
    facts: Fields = msgspec.to_builtins(value)
    return {name: facts[name] for name in names or facts}


def _step(step: Step) -> str:
    sign, head = SIGNS[step.verb], f"{step.kind} {step.subject}"
    match step.verb:
        case Verb.LAUNCH:
            return f"{sign} {head}: goes live"
        case Verb.DRAIN | Verb.OFF:
            return f"{sign} {head}: no longer in the file, is {ENDS[step.verb]}"
        case Verb.CREATE:
            return f"{sign} {head}: " + ", ".join(f"{one.field} {_value(one.after)}" for one in step.changes)
        case Verb.CHANGE:
            said = (f"{one.field} {_value(one.before)} -> {_value(one.after)}" for one in step.changes)
            return f"{sign} {head}: " + ", ".join(said)


def changed_elsewhere(drift: Drift) -> str:
    """Where, ours at the last apply, theirs now, the file's."""
    ours = f"applied last {_value(drift.ours)}" if drift.ours_known else "never applied from here"
    return f"{drift.path} of {drift.subject}: {ours}, now {_value(drift.theirs)}, the file {_value(drift.file)}"


def losses(plan: Plan) -> Iterator[str]:
    """The margins below zero, for whoever is not shown all of them."""
    yield from _margins([row for row in plan.impact.margins if row.is_loss])


def _margins(rows: Sequence[Margin]) -> Iterator[str]:
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


def _whom(affected: Impact) -> Iterator[str]:
    yield from _margins(affected.margins)
    for name in affected.stops:
        yield f"STOPS {name}"
    for name in affected.unproven:
        yield f"OUT UNTIL IT PASSES ITS PROBES {name}"
    for model in affected.stranded:
        yield f"WITHOUT A LIVE ENDPOINT {model}"
    if affected.models and affected.customers:
        yield "Customers of the last 30 days:"
    for one in affected.customers:
        accounts = "1 account" if one.accounts == 1 else f"{one.accounts:,} accounts"
        yield f"  {one.model}: {accounts}, {one.calls:,} calls, {to_usd(one.charged)} USD"


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
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
