"""`gigarouter admin plan`, `apply`, `export` and `import-litellm`: the catalogue as a file that is reviewed."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.seed import shipped
from gigarouter.commands.admin.providers import speaking_to
from gigarouter.commands.admin.session import FAILED, actor, fail, read, run
from providers.litellm import price_map
from router.admin.commands import import_catalog
from router.changes.transaction import UnitOfWork
from router.manifest import apply as manifest_apply
from router.manifest import current_state, report, schema
from router.manifest.apply import ApplyRequest
from router.manifest.export import manifest_text
from router.manifest.litellm_import import ImportResult, count_by_outcome, import_price_map
from router.manifest.values import CurrentState, Decisions, Entry, Fields, FileRefused, Kind, Plan
from router.registry.indexes import ProviderRecord

SOMETHING_TO_DO = 2

File = Annotated[str, typer.Argument(help="The catalogue file; - reads standard input.")]
TakeFile = Annotated[
    list[str] | None, typer.Option(help="The file's value holds here, as in endpoints[3].priority; may be repeated.")
]
TakeTheirs = Annotated[list[str] | None, typer.Option(help="What was changed elsewhere stays here; may be repeated.")]
Prune = Annotated[bool, typer.Option("--prune", help="End what is no longer in the file: endpoints, providers.")]
AllowLoss = Annotated[bool, typer.Option("--allow-loss", help="A price below an endpoint's cost is meant.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def plan(
    path: File,
    take_file: TakeFile = None,
    take_theirs: TakeTheirs = None,
    prune: Prune = False,
    allow_loss: AllowLoss = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 2 where there is something to do.")] = False,
    as_json: Json = False,
) -> None:
    """Show what an apply would change, whom it affects, and what would refuse it; change nothing."""
    order = _order(path, Decisions(tuple(take_file or ()), tuple(take_theirs or ()), prune, allow_loss))
    planned = run(lambda db: manifest_apply.plan(db, actor(), order))
    _show(planned, as_json=as_json)
    if planned.diff.faults:
        raise typer.Exit(FAILED)
    if exit_code and planned.needs_action:
        raise typer.Exit(SOMETHING_TO_DO)


def apply(
    path: File,
    take_file: TakeFile = None,
    take_theirs: TakeTheirs = None,
    prune: Prune = False,
    allow_loss: AllowLoss = False,
    as_json: Json = False,
) -> None:
    """Make the catalogue what the file says: all of it or nothing."""
    order = _order(path, Decisions(tuple(take_file or ()), tuple(take_theirs or ()), prune, allow_loss))
    try:
        done = run(lambda db: manifest_apply.apply(db, actor(), order))
    except FileRefused as refused:
        fail(str(refused))
    _show(done, as_json=as_json, done=True)


def export() -> None:
    """Print the present state as a catalogue file."""

    async def ask(connection: AsyncConnection) -> CurrentState:
        return await current_state.load(connection, "file", datetime.now(UTC))

    typer.echo(manifest_text(read(ask)), nl=False)


def import_litellm(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, change nothing.")] = False,
    allow_loss: AllowLoss = False,
    as_json: Json = False,
) -> None:
    """Import the embedding models of litellm's price map: models, providers without credential, draft endpoints."""
    try:
        costs = price_map.read()
    except FileNotFoundError as missing:
        fail(f"{missing}.")
    said: list[ImportResult] = []

    def desired(there: CurrentState) -> tuple[Entry, ...]:
        said.append(import_price_map(costs, there, datetime.now(UTC).date()))
        return said[-1].entries

    # A draft gets no traffic, so that one which would be sold below its cost is shown and not refused.
    decisions = Decisions(keep_drift=True, allow_loss=allow_loss, allow_loss_of_drafts=True)
    order = ApplyRequest(desired, decisions, "litellm", prepare=_seed)
    did = run(lambda db: (manifest_apply.plan if dry_run else manifest_apply.apply)(db, actor(), order))
    counts = _report(costs, said[-1], did)
    if as_json:
        _print_json({**counts, "plan": report.plan_json(did)})
        return
    _print(report.plan_lines(did) if dry_run else report.loss_lines(did))
    _print(f"{note.key}: {note.outcome}. {note.message}" for note in said[-1].notes)
    _print(f"{name.replace('_', ' ')}: {value}" for name, value in counts.items() if name != "notes")


async def _seed(work: UnitOfWork) -> None:
    """The shipped catalogue first: what it knows of a model is better than what the map says."""
    there = {model.id for model in (await current_state.load(work.connection, "litellm", work.now)).models.values()}
    if not {model.id for model in shipped()} <= there:
        await import_catalog(work)


def _report(costs: price_map.PriceMap, imported: ImportResult, did: Plan) -> Fields:
    made = [(step.kind, step.verb.value) for step in did.diff.steps]
    return {
        "object": "litellm_import",
        "litellm": costs.release,
        "in_the_map": len(costs.entries),
        "providers": _count(imported, Kind.PROVIDER),
        "models": _count(imported, Kind.MODEL),
        "models_that_were_there": len(imported.matched),
        "endpoints": _count(imported, Kind.ENDPOINT),
        "changes": {f"{kind} {verb}": made.count((kind, verb)) for kind, verb in dict.fromkeys(made)},
        "kept_as_operators_left_them": sum(drift.last != drift.file for drift in did.diff.accepted),
        "noted": dict(count_by_outcome(imported.notes)),
        "notes": [msgspec.to_builtins(note) for note in imported.notes],
    }


def _count(imported: ImportResult, kind: Kind) -> int:
    return sum(entry.kind is kind for entry in imported.entries)


def _order(path: str, decisions: Decisions) -> ApplyRequest:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        entries = schema.read(text)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        fail(f"{path} is not UTF-8 text.")
    except FileRefused as refused:
        fail(str(refused))
    return ApplyRequest(lambda _: entries, decisions, check_provider=_usable)


async def _usable(record: ProviderRecord) -> None:
    async with speaking_to(record):
        return


def _show(shown: Plan, *, as_json: bool, done: bool = False) -> None:
    if as_json:
        _print_json(report.plan_json(shown))
    else:
        _print(report.plan_lines(shown, applied=done))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


def _print_json(value: Fields) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
