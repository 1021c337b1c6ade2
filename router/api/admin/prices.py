"""``/admin/v1/prices``: what customers pay. A price is never edited: a new one starts at its instant."""

import msgspec
from fastapi import APIRouter, Request, Response

from billing.money import Price, to_usd
from billing.prices import list_prices
from router.admin.prices import set_price
from router.api.admin.mutation import Made, change
from router.api.admin.operation import lists, makes, shows
from router.api.admin.parsing import V1, Instant, body_of, exchange_of, id_of, query_of, read, rfc3339, usd_of, utc
from router.api.admin.responses import Resource, listed, one, page, slice_of
from router.api.operation import OperationRoute
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from router.registry.indexes import PriceIndex
from store.ids import ModelId, PriceId, wire

operations = APIRouter(route_class=OperationRoute)
PATH = f"{V1}/prices"
TAG = "Prices"


class PriceOut(Resource, frozen=True):
    """USD per million tokens from an instant on; ``batch_usd_per_mtok`` null: no discount on the batch lane."""

    id: str
    model: str
    usd_per_mtok: str
    batch_usd_per_mtok: str | None
    effective_at: str | None
    in_force: bool
    currency: str = "USD"
    object: str = "price"


class PriceCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's price from ``effective_at`` on, by default from now."""

    model: str
    usd_per_mtok: str
    batch_usd_per_mtok: str | None = None
    effective_at: Instant | None = None
    note: str = ""


@operations.get(PATH, **lists("list_prices", "List prices", TAG, PriceOut, "model"))
async def list_(request: Request) -> Response:
    """Prices past, present and to come, of a model or of all."""
    query = query_of(request, "limit", "cursor", "model")
    part, now = slice_of(query), exchange_of(request).now
    found = [price for price in await read(request, list_prices) if query.get("model") in (None, price.model_id)]
    index = PriceIndex(found)
    rows = listed(found, part, _key)
    return page(
        request, rows, part, _key, lambda price: _out(price, in_force=index.current(price.model_id, now) == price)
    )


@operations.post(PATH, **makes("create_price", "Set a price", TAG, PriceOut, PriceCreate))
async def create(request: Request) -> Response:
    """Set a model's price from an instant on; calls that were made keep theirs."""
    body = body_of(request, PriceCreate)
    nano = usd_of(body.usd_per_mtok, "usd_per_mtok")
    batch = None if body.batch_usd_per_mtok is None else usd_of(body.batch_usd_per_mtok, "batch_usd_per_mtok")

    async def command(work: UnitOfWork) -> Made:
        price = await set_price(
            work, ModelId(body.model), nano, utc(body.effective_at), batch_nano_per_mtok=batch, note=body.note
        )
        shown = _out(price, in_force=price.effective_at <= work.now)
        return Made(shown, 201, f"{PATH}/{wire(PriceId, price.id)}")

    return await change(request, command)


@operations.get(f"{PATH}/{{price_id}}", **shows("retrieve_price", "Retrieve a price", TAG, PriceOut))
async def retrieve(request: Request, price_id: str) -> Response:
    """One price."""
    query_of(request)
    known, now = PriceId(id_of(PriceId, price_id, "price")), exchange_of(request).now
    found = await read(request, list_prices)
    price = next((price for price in found if price.id == known), None)
    if price is None:
        raise NotFound(f"There is no price {wire(PriceId, known)}.", param="price")
    return one(_out(price, in_force=PriceIndex(found).current(price.model_id, now) == price))


def _key(price: Price) -> str:
    return f"{price.model_id} {price.effective_at.isoformat()} {price.id.hex}"


def _out(price: Price, *, in_force: bool) -> PriceOut:
    batch = price.batch_nano_per_mtok
    return PriceOut(
        id=wire(PriceId, price.id),
        model=price.model_id,
        usd_per_mtok=to_usd(price.nano_per_mtok),
        batch_usd_per_mtok=None if batch is None else to_usd(batch),
        effective_at=rfc3339(price.effective_at),
        in_force=in_force,
    )
