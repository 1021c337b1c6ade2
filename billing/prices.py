"""Prices: append-only, each in force from an instant on; a call is charged at the one of its admission."""

from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import Price
from billing.tables import PriceRow
from store.ids import ModelId, PriceId, new_id


async def set_price(
    tx: AsyncConnection,
    model_id: ModelId,
    nano_per_mtok: int,
    effective_at: datetime,
    *,
    batch_nano_per_mtok: int | None = None,
    note: str = "",
) -> PriceId:
    """A new price from ``effective_at`` on. Two prices of a model cannot start at the same instant."""
    if nano_per_mtok < 0:
        raise ValueError("a price is never negative")
    price_id = PriceId(new_id())
    await tx.execute(
        insert(PriceRow).values(
            id=price_id,
            model_id=model_id,
            nano_per_mtok=nano_per_mtok,
            batch_nano_per_mtok=batch_nano_per_mtok,
            effective_at=effective_at,
            note=note,
        )
    )
    return price_id


async def list_prices(tx: AsyncConnection) -> list[Price]:
    """Every price ever set, by model and instant."""
    rows = await tx.execute(select(PriceRow).order_by(PriceRow.model_id, PriceRow.effective_at))
    return [
        Price(PriceId(r.id), ModelId(r.model_id), r.nano_per_mtok, r.effective_at, r.batch_nano_per_mtok) for r in rows
    ]


def price_at(prices: list[Price], at: datetime) -> Price | None:
    """The one of a model's prices, ordered by instant, that is in force at ``at``."""
    current = None
    for price in prices:
        if price.effective_at > at:
            break
        current = price
    return current
