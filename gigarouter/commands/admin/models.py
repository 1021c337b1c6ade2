"""`gigarouter admin models`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.prices import list_prices
from catalog import models
from catalog.model_edits import BARE
from catalog.permit import decide
from catalog.values import Model, ModelFacts, Status, Use
from gigarouter.commands.admin.options import Unset, offers, taken_away, typed
from gigarouter.commands.admin.output import AsJson, Row, show_list, show_one
from gigarouter.commands.admin.session import USAGE, fail, read, write
from router.admin.commands import import_catalog, launch_model, move_model
from router.changes.transaction import UnitOfWork
from router.registry.endpoints import list_endpoints
from router.registry.indexes import PriceIndex
from router.registry.model_facts import MODEL_NEEDS
from router.registry.models import add_model, edit_model, entry_of, facts_of
from store.ids import ModelId

app = typer.Typer(no_args_is_help=True)
DryRun = Annotated[bool, typer.Option(help="Check and show it, change nothing.")]
OPTIONS = {
    "owned_by": Annotated[str | None, typer.Option(help="Its maker.")],
    "summary": Annotated[str | None, typer.Option(help="One sentence for those who look for a model.")],
    "dimensions": Annotated[int | None, typer.Option(help="The width of a vector where a call asks for none.")],
    "max_input_tokens": Annotated[int | None, typer.Option(help="Of one input, prompt and special tokens included.")],
    "normalized": Annotated[bool | None, typer.Option("--normalized/--not-normalized", help="Vectors have length 1.")],
    "published_on": Annotated[str | None, typer.Option(help="A day such as 2026-05-01.")],
    "aliases": Annotated[list[str] | None, typer.Option("--alias", help="Another name; may be repeated.")],
    "trained_dimensions": Annotated[
        list[int] | None, typer.Option("--trained-dimension", help="A width that it may be cut to; may be repeated.")
    ],
    "only_trained_dimensions": Annotated[
        bool | None, typer.Option("--only-trained/--any-dimension", help="Whether it may be cut to those alone.")
    ],
    "max_input_tokens_ceiling": Annotated[int | None, typer.Option(help="What its architecture could take.")],
    "pooling": Annotated[str | None, typer.Option(help="Such as mean or last-token.")],
    "numerics": Annotated[str | None, typer.Option(help="Class of its weights' numbers, such as bf16.")],
    "tokenizer": Annotated[str | None, typer.Option(help="Its tokenizer's name, with --vocabulary-size.")],
    "vocabulary_size": Annotated[int | None, typer.Option(help="Token ids below it are the tokenizer's.")],
    "special_tokens": Annotated[int | None, typer.Option(help="How many the tokenizer adds to an input.")],
    "prompts": Annotated[
        list[str] | None, typer.Option("--prompt", help="query=… or document=…: text put before an input.")
    ],
    "revision": Annotated[str | None, typer.Option(help="Pin of the weights: a commit or a digest.")],
    "parameters": Annotated[int | None, typer.Option(help="How many it has.")],
    "languages": Annotated[str | None, typer.Option(help="Those that it is made for.")],
    "note": Annotated[str | None, typer.Option(help="For operators.")],
}
EMPTY = {name: getattr(BARE, name) for name in (*OPTIONS, "estimate") if name not in MODEL_NEEDS}


@app.command("list")
def list_all(status: Status | None = None, as_json: AsJson = False) -> None:
    """All models, or those of a status, with the price in force."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        prices, now = PriceIndex(await list_prices(connection)), datetime.now(UTC)
        found = (await models.load(connection)).all()
        return [_row(model, prices, now) for model in found if status in (None, model.status)]

    show_list(read(ask), as_json=as_json)


@app.command("show")
def show(model: str, as_json: AsJson = False) -> None:
    """One model: facts, licenses, price, endpoints."""

    async def ask(connection: AsyncConnection) -> Row:
        found = await models.get(connection, model)
        prices, now = PriceIndex(await list_prices(connection)), datetime.now(UTC)
        return {
            **_row(found, prices, now),
            **facts_of(found),
            "space": found.space,
            "commercial_use": " ".join(decide(found, Use.COMMERCIAL, frozenset(), now).reasons),
            "endpoints": [
                f"{view.endpoint.provider_name} ({view.endpoint.state.value})"
                for view in await list_endpoints(connection, found.id)
            ],
        }

    show_one(read(ask), as_json=as_json)


@app.command("add")
@offers(OPTIONS)
def add(
    model: Annotated[str, typer.Argument(help="Its id, org/name.")],
    *,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    **given: object,
) -> None:
    """Add a model, coming soon; its license claims are recorded with `licenses claim`."""
    if missing := [name for name in MODEL_NEEDS if given[name] is None]:
        fail(f"A model states {', '.join(missing)} too.", USAGE)
    entry = _entry({"id": model, "published_on": None, **_facts(given)})
    _show_facts(write(lambda work: add_model(work, entry), dry_run=dry_run), as_json=as_json)


@app.command("edit")
@offers(OPTIONS)
def edit(model: str, *, unset: Unset = None, dry_run: DryRun = False, as_json: AsJson = False, **given: object) -> None:
    """Change what is given, --unset takes away; what a model's customers or endpoints rely on stays."""
    facts = taken_away(unset, EMPTY) | _facts(given)

    async def change(work: UnitOfWork) -> Model:
        before = msgspec.structs.asdict(await entry_of(work, model))
        return await edit_model(work, _entry(before | facts))

    _show_facts(write(change, dry_run=dry_run), as_json=as_json)


@app.command("launch")
def launch(model: str, reason: str = "", dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Put a model live: it needs a settled license, a price in force and a live endpoint."""
    model_id = ModelId(model)
    _show_moved(write(lambda work: launch_model(work, model_id, reason=reason), dry_run=dry_run), as_json=as_json)


@app.command("move")
def move(
    model: str,
    to: Annotated[Status, typer.Argument(help="deprecated, retired, or coming_soon again.")],
    reason: Annotated[str, typer.Option(help="Kept with the model's history.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Deprecate, retire or announce a model."""
    model_id = ModelId(model)
    _show_moved(write(lambda work: move_model(work, model_id, to, reason=reason), dry_run=dry_run), as_json=as_json)


@app.command("import-seed")
def import_shipped(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Bring the catalogue that this release ships up to date; what operators changed stays."""
    summary = write(import_catalog, dry_run=dry_run)
    show_one({name: getattr(summary, name) for name in summary.__struct_fields__}, as_json=as_json)


def _facts(given: Mapping[str, object]) -> dict[str, object]:
    facts = typed(given)
    if (prompts := given["prompts"]) is not None:
        assert isinstance(prompts, list)
        pairs = [pair.partition("=") for pair in prompts]
        facts["prompts"] = {kind: text for kind, _, text in pairs}
    return facts


def _entry(facts: dict[str, object]) -> ModelFacts:
    try:
        return msgspec.convert(facts, ModelFacts)
    except msgspec.ValidationError as error:
        fail(f"{error}.", USAGE)


def _show_facts(model: Model, *, as_json: bool) -> None:
    show_one({"id": model.id, "status": model.status, **facts_of(model), "space": model.space}, as_json=as_json)


def _show_moved(model: Model, *, as_json: bool) -> None:
    show_one({"id": model.id, "status": model.status}, as_json=as_json)


def _row(model: Model, prices: PriceIndex, now: datetime) -> Row:
    price = prices.current(model.id, now)
    return {
        "id": model.id,
        "status": model.status,
        "dimensions": model.dimensions,
        "usd_per_mtok": None if price is None else to_usd(price.nano_per_mtok),
        "votes": model.votes,
        "licenses": sorted({claim.license for claim in model.claims if not claim.resolved}) or _resolved(model),
    }


def _resolved(model: Model) -> list[str]:
    return [] if model.resolution is None else [model.resolution.license]
