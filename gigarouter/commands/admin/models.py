"""`gigarouter admin models`."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.prices import list_prices
from catalog import models
from catalog.permit import decide
from catalog.values import Model, Status, Use
from gigarouter.commands.admin.output import AsJson, Row, show_list, show_one
from gigarouter.commands.admin.session import read, write
from router.administer import import_catalog, launch_model, move_model
from router.endpoints import list_endpoints
from router.indexes import PriceIndex
from store.ids import ModelId

app = typer.Typer(no_args_is_help=True)
DryRun = Annotated[bool, typer.Option(help="Check and show it, change nothing.")]


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
            "max_input_tokens": found.max_input_tokens,
            "trained_dimensions": list(found.trained_dimensions),
            "space": found.space,
            "revision": found.revision,
            "aliases": list(found.aliases),
            "estimated_usd_per_mtok": _usd(found.estimated_nano_per_mtok),
            "commercial_use": " ".join(decide(found, Use.COMMERCIAL, frozenset(), now).reasons),
            "endpoints": [
                f"{view.endpoint.provider_name} ({view.endpoint.state.value})"
                for view in await list_endpoints(connection, found.id)
            ],
            "note": found.note,
        }

    show_one(read(ask), as_json=as_json)


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


def _usd(nano: int | None) -> str | None:
    return None if nano is None else to_usd(nano)
