"""Sets and lists list prices. They are append-only, and a call is charged at the price in force at its admission.

What an account pays by its contract instead is :mod:`billing.contracts`.
"""

from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.prices import add_listed, lock_prices
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
    """Set a price from ``effective_at`` on. Two prices of a model cannot start at the same instant."""
    if nano_per_mtok < 0:
        raise ValueError("a price is never negative")
    price_id = PriceId(new_id())
    await lock_prices(tx)
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
    await add_listed(tx, Price(price_id, model_id, nano_per_mtok, effective_at, batch_nano_per_mtok))
    return price_id


async def list_prices(tx: AsyncConnection) -> list[Price]:
    """Every price ever set, by model and instant."""
    rows = await tx.execute(select(PriceRow).order_by(PriceRow.model_id, PriceRow.effective_at))
    return [
        Price(PriceId(r.id), ModelId(r.model_id), r.nano_per_mtok, r.effective_at, r.batch_nano_per_mtok) for r in rows
    ]
