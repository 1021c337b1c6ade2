"""`gigarouter admin prices`."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import Price, to_usd
from billing.prices import list_prices
from gigarouter.commands.admin.instants import instant_of
from gigarouter.commands.admin.output import AsJson, Row, instant, show_list, show_one
from gigarouter.commands.admin.session import read, usd, write
from router.admin.prices import set_price
from router.changes.transaction import UnitOfWork
from router.registry.indexes import PriceIndex
from store.ids import ModelId, PriceId, wire

app = typer.Typer(no_args_is_help=True)


@app.command("set")
def set_(
    model: str,
    price: Annotated[str, typer.Argument(help="USD per million tokens, such as 0.008.")],
    *,
    batch: Annotated[
        str | None, typer.Option(help="USD per million tokens for calls with X-Tier: batch; by default the price.")
    ] = None,
    effective: Annotated[str | None, typer.Option("--from", help="2026-12-01 or 7d; by default now.")] = None,
    note: str = "",
    dry_run: Annotated[bool, typer.Option(help="Check and show it, change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """A model's price from an instant on; a price is never edited."""
    nano = usd(price)
    batch_nano = None if batch is None else usd(batch)

    async def change(work: UnitOfWork) -> Price:
        starts_at = instant_of(effective, work.now)
        return await set_price(work, ModelId(model), nano, starts_at, batch_nano_per_mtok=batch_nano, note=note)

    show_one(_row(write(change, dry_run=dry_run)), as_json=as_json)


@app.command("list")
def list_all(model: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Prices past, present and to come, of a model or of all."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        found = [price for price in await list_prices(connection) if model in (None, price.model_id)]
        index, now = PriceIndex(found), datetime.now(UTC)
        return [{**_row(price), "in_force": index.current(price.model_id, now) == price} for price in found]

    show_list(read(ask), as_json=as_json)


def _row(price: Price) -> Row:
    return {
        "id": wire(PriceId, price.id),
        "model": price.model_id,
        "usd_per_mtok": to_usd(price.nano_per_mtok),
        "batch_usd_per_mtok": None if price.batch_nano_per_mtok is None else to_usd(price.batch_nano_per_mtok),
        "effective_at": instant(price.effective_at),
    }
