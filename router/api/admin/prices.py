"""``/admin/v1/prices``: list prices, what customers pay. A price is never edited: a new one starts at its instant.

A call may name the price of a contract, which is found here by its id, and listed with its contract.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.prices import find_price
from billing.contracts.store import list_terms
from billing.money import Price
from billing.prices import list_prices
from router.admin.price_impact import measure_price
from router.admin.prices import set_price
from router.api.admin.price_impacts import ImpactOut, price_impact
from router.api.admin.references import model_id_of
from router.api.admin.request import Read, Write
from router.api.fields import (
    AccountIdText,
    ContractIdText,
    Instant,
    ModelRef,
    PriceIdText,
    Usd,
    UsdNotNegative,
)
from router.api.forms import Body, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from router.registry.indexes import PriceIndex
from store.ids import AccountId, PriceId, wire

operations = Operations("prices", f"{V1}/prices")


class PriceOut(Resource):
    """A model's price in USD per million tokens from an instant on."""

    volatile: ClassVar[frozenset[str]] = frozenset({"impact"})
    columns: ClassVar[tuple[str, ...]] = (
        "id",
        "model",
        "usd_per_mtok",
        "batch_usd_per_mtok",
        "effective_at",
        "in_force",
    )

    id: PriceIdText
    model: str
    usd_per_mtok: Usd
    batch_usd_per_mtok: Usd | None = Field(description="The batch lane's; null: no discount there.")
    effective_at: Instant
    in_force: bool = Field(description="Whether it is what a call is charged now.")
    account: AccountIdText | None = Field(None, description="Whose price it is by a contract; null: a list price.")
    contract: ContractIdText | None = Field(None, description="The contract that made it; null: a list price.")
    impact: ImpactOut | None = Field(
        None, description="In a dry run of setting it: whom it touches; `gigarouter admin price-impacts list` has all."
    )
    currency: Literal["USD"] = "USD"
    object: Literal["price"] = "price"


class PriceCreate(Body):
    """A model's price from an instant on."""

    model: ModelRef = Field(description="The model, by id or alias.")
    usd_per_mtok: UsdNotNegative = Field(description="USD per million tokens, such as 0.008.")
    batch_usd_per_mtok: UsdNotNegative | None = Field(
        None, description="USD per million tokens for calls with X-Tier: batch; by default the price."
    )
    effective_at: Instant | None = Field(None, description="From when on; by default from now.")
    note: str = Field("", max_length=2000, description="For whoever reads the audit log.")


class PriceQuery(PageQuery):
    """Which prices."""

    model: ModelRef | None = Field(None, description="Those of this model, by id or alias.")


@operations.get("", verb="list", summary="List prices", roles=ALL)
async def list_(admin: Read, query: Annotated[PriceQuery, Query()]) -> Page[PriceOut]:
    """Prices past, present and to come, of a model or of all."""

    async def ask(connection: AsyncConnection) -> list[PriceOut]:
        model = None if query.model is None else await model_id_of(connection, query.model)
        found = await _prices(connection, admin.exchange.now)
        return query.cut([price for price in found if model in (None, price.model)], _key)

    return admin.page(query, await admin.read(ask), _key)


@operations.post("", verb="create", summary="Set a price", roles=MONEY, status=201)
async def create(admin: Write, body: PriceCreate) -> PriceOut:
    """Set a model's price from an instant on; calls that were made keep theirs. A dry run says whom it touches."""

    async def command(work: UnitOfWork) -> PriceOut:
        price = await set_price(
            work,
            await model_id_of(work.connection, body.model),
            body.usd_per_mtok,
            body.effective_at,
            batch_nano_per_mtok=body.batch_usd_per_mtok,
            note=body.note,
        )
        out = _out(price, in_force=price.effective_at <= work.now)
        if not admin.dry_run:
            return out
        return out.model_copy(update={"impact": await _impact(work, price)})

    return await admin.change(command)


@operations.get("/{price_id}", verb="show", summary="Retrieve a price", roles=ALL)
async def retrieve(admin: Read, price_id: PriceIdText) -> PriceOut:
    """One price, also one that a contract made for an account."""

    async def ask(connection: AsyncConnection) -> PriceOut:
        now = admin.exchange.now
        for price in await _prices(connection, now):
            if price.id == price_id:
                return price
        if (found := await find_price(connection, PriceId(price_id))) is not None:
            return await _contracted(connection, *found, now)
        raise NotFound(f"There is no price {wire(PriceId, price_id)}.", param="price")

    return await admin.read(ask)


async def _impact(work: UnitOfWork, price: Price) -> ImpactOut:
    others = [one for one in await list_prices(work.connection) if one.id != price.id]
    before = PriceIndex(others).current(price.model_id, price.effective_at)
    measured = await measure_price(work.connection, price, work.now)
    return await price_impact(work.connection, measured, price.model_id, before, price)


async def _prices(connection: AsyncConnection, now: datetime) -> list[PriceOut]:
    found = await list_prices(connection)
    index = PriceIndex(found)
    return [_out(price, in_force=index.current(price.model_id, now) == price) for price in found]


async def _contracted(connection: AsyncConnection, account_id: AccountId, price: Price, now: datetime) -> PriceOut:
    index = PriceIndex(await list_prices(connection), await list_terms(connection, account_id))
    current = index.of_account(account_id, price.model_id, now)
    contract = None if price.agreement is None else price.agreement.contract_id
    out = _out(price, in_force=current is not None and current.id == price.id)
    return out.model_copy(update={"account": account_id, "contract": contract})


def _key(price: PriceOut) -> str:
    return f"{price.model} {price.effective_at.isoformat()} {price.id.hex}"


def _out(price: Price, *, in_force: bool) -> PriceOut:
    return answer_of(PriceOut, price, model=price.model_id, in_force=in_force)
