"""Sets models' prices through the one write path; a model that may not be charged for stays free."""

from datetime import datetime

from sqlalchemy.exc import IntegrityError

from billing import prices
from billing.money import Price, price_at, to_usd
from catalog import models
from catalog.permit import may_charge
from catalog.values import Status
from router.admin.model_mails import mail_price
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest
from router.tables import Json
from store.ids import ModelId, PriceId, wire

PRICE_MAX = 9_000_000_000_000


async def set_price(
    work: UnitOfWork,
    model_id: ModelId,
    nano_per_mtok: int,
    effective_at: datetime | None = None,
    *,
    batch_nano_per_mtok: int | None = None,
    note: str = "",
) -> Price:
    """A model's price from an instant on, by default from now. A served model that may not be charged for stays free.

    ``batch_nano_per_mtok`` is the batch lane's, by default the same.

    Raises ``ModelUnknown``, ``InvalidRequest``, ``Conflict``.
    """
    model = await models.get(work.connection, model_id)
    starts_at = effective_at or work.now
    if not 0 <= nano_per_mtok <= PRICE_MAX:
        raise InvalidRequest("A price is between 0.00 and 9000.00 USD per million tokens.", param="price")
    if batch_nano_per_mtok is not None and not 0 <= batch_nano_per_mtok <= nano_per_mtok:
        raise InvalidRequest("A batch price is between 0.00 and the price itself.", param="batch_price")
    if starts_at < work.now:
        raise InvalidRequest("A price starts now or later: calls that were made keep theirs.", param="effective_at")
    charging = may_charge(model, work.now)
    if nano_per_mtok > 0 and model.status in (Status.LIVE, Status.DEPRECATED) and not charging.allowed:
        raise Conflict(f"{model_id} is served free of charge: {charging.reasons[0]} {charging.lifted_by}")
    before = price_at(await _prices_of(work, model_id), starts_at)
    try:
        price_id = await prices.set_price(
            work.connection, model_id, nano_per_mtok, starts_at, batch_nano_per_mtok=batch_nano_per_mtok, note=note
        )
    except IntegrityError as error:
        raise Conflict(f"{model_id} has a price that starts at this very instant.") from error
    was: Json | None = {"usd_per_mtok": to_usd(before.nano_per_mtok)} if before else None
    now: Json = {"usd_per_mtok": to_usd(nano_per_mtok), "effective_at": starts_at.isoformat(), "model": model_id}
    if batch_nano_per_mtok is not None:
        now["batch_usd_per_mtok"] = to_usd(batch_nano_per_mtok)
    work.record_change(Change("price.set", wire(PriceId, price_id), None, was, now, reason=note))
    price = Price(price_id, model_id, nano_per_mtok, starts_at, batch_nano_per_mtok)
    await mail_price(work, model, before, price)
    return price


async def _prices_of(work: UnitOfWork, model_id: ModelId) -> list[Price]:
    return [price for price in await prices.list_prices(work.connection) if price.model_id == model_id]
