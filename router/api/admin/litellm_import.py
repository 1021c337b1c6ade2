"""``/admin/v1/manifest:import-litellm``: the embedding models of litellm's price map, brought into the catalogue."""

import asyncio
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from catalog.seed import shipped
from providers.litellm import price_map
from router.admin.launch import import_catalog
from router.api.admin.manifest import PlanOut, carry_out, plan_out
from router.api.admin.request import Write
from router.api.forms import Answer, Body
from router.api.operation import OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import Conflict
from router.manifest import current_state, report
from router.manifest.apply import ApplyRequest
from router.manifest.litellm_import import ImportResult, count_by_outcome, import_price_map
from router.manifest.values import CurrentState, Decisions, Entry, Kind, Plan

operations = Operations("manifest", f"{V1}/manifest")


class LitellmImport(Body):
    """How to import."""

    allow_loss: bool = Field(False, description="A price below an endpoint's cost is meant.")


class LitellmLitellmImportOut(Answer):
    """What an import did, counted; ``notes`` say what became of each key that is not simply an endpoint."""

    columns: ClassVar[tuple[str, ...]] = ("lines",)

    litellm: str = Field(description="The release whose price map was read.")
    in_the_map: int
    providers: int
    models: int
    models_that_were_there: int
    endpoints: int
    changes: dict[str, int]
    kept_as_operators_left_them: int
    noted: dict[str, int]
    notes: list[dict[str, Any]]
    plan: PlanOut
    lines: list[str]
    object: Literal["litellm_import"] = "litellm_import"


@operations.post(
    ":import-litellm",
    verb="import-litellm",
    name="import_litellm",
    summary="Import litellm's price map",
    roles=OPS,
)
async def import_litellm(admin: Write, body: LitellmImport) -> LitellmLitellmImportOut:
    """Import the embedding models of litellm's price map: models, providers without credential, draft endpoints."""
    try:
        costs = await asyncio.to_thread(price_map.read)
    except FileNotFoundError as missing:
        raise Conflict(f"{missing}.") from missing
    imported: list[ImportResult] = []

    def desired(state: CurrentState) -> tuple[Entry, ...]:
        imported.append(import_price_map(costs, state, admin.exchange.now.date()))
        return imported[-1].entries

    # A draft gets no traffic, so that one which would be sold below its cost is shown and not refused.
    decisions = Decisions(keep_drift=True, allow_loss=body.allow_loss, allow_loss_of_drafts=True)
    request = ApplyRequest(desired, decisions, "litellm", prepare=_seed)
    return await carry_out(admin, request, lambda done: _out(costs, imported[-1], done, dry_run=admin.dry_run))


async def _seed(work: UnitOfWork) -> None:
    """The shipped catalogue first: what it knows of a model is better than what the map says."""
    there = {model.id for model in (await current_state.load(work.connection, "litellm", work.now)).models.values()}
    if not {model.id for model in shipped()} <= there:
        await import_catalog(work)


def _out(costs: price_map.PriceMap, imported: ImportResult, done: Plan, *, dry_run: bool) -> LitellmLitellmImportOut:
    changes = [f"{step.kind} {step.verb.value}" for step in done.diff.steps]
    counts: dict[str, Any] = {
        "litellm": costs.release,
        "in_the_map": len(costs.entries),
        "providers": _count(imported, Kind.PROVIDER),
        "models": _count(imported, Kind.MODEL),
        "models_that_were_there": len(imported.matched),
        "endpoints": _count(imported, Kind.ENDPOINT),
        "changes": {change: changes.count(change) for change in dict.fromkeys(changes)},
        "kept_as_operators_left_them": sum(drift.last != drift.file for drift in done.diff.accepted),
        "noted": dict(count_by_outcome(imported.notes)),
    }
    lines = [
        *(report.plan_lines(done) if dry_run else report.loss_lines(done)),
        *(f"{note.key}: {note.outcome}. {note.message}" for note in imported.notes),
        *(f"{name.replace('_', ' ')}: {value}" for name, value in counts.items()),
    ]
    notes = [msgspec.to_builtins(note) for note in imported.notes]
    return LitellmLitellmImportOut(**counts, notes=notes, plan=plan_out(done, done=not dry_run), lines=lines)


def _count(imported: ImportResult, kind: Kind) -> int:
    return sum(entry.kind is kind for entry in imported.entries)
