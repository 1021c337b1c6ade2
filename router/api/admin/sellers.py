"""``/admin/v1/sellers``: the legal entities that sell; ``/admin/v1/exchange-rates``: VAT in their money."""

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.profiles import ExchangeRate, list_rates, list_sellers
from router.admin.parties import add_rate, set_seller
from router.api.admin.request import Read, Write
from router.api.fields import TextValue, text_of
from router.api.forms import Answer, Body, Page, PageQuery, answer_of
from router.api.operation import ALL, MONEY, V1, Operations
from router.api.party_forms import Currency, SellerOut, SellerSet, seller_of, seller_out
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from router.request.body import printable_excerpt

operations = Operations("sellers", f"{V1}/sellers", tag="Documents")
rates = Operations("exchange-rates", f"{V1}/exchange-rates", tag="Documents")


def _rate(text: str) -> str:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not (text.isascii() and rate.is_finite() and 0 < rate < 10**9 and -10 <= int(rate.as_tuple().exponent) <= 0):
        raise ValueError(text)
    return format(rate, "f")


Rate = Annotated[str, TextValue(_rate, str, "a decimal number with at most ten decimals, such as 0.9123")]


class RateOut(Answer):
    """How much of a currency one US dollar was on a day."""

    columns: ClassVar[tuple[str, ...]] = ("base", "per_usd", "currency", "on_day", "source")

    currency: str
    on_day: date
    per_usd: str
    source: str
    base: Literal["USD"] = "USD"
    object: Literal["exchange_rate"] = "exchange_rate"


class RateCreate(Body):
    """A day's exchange rate."""

    currency: Currency = Field(description="The currency.")
    per_usd: Rate = Field(description="How much of it one US dollar was.")
    on_day: date = Field(description="The day.")
    source: Annotated[str, text_of(100)] = Field(description="By whom it was said, such as ECB; printed.")


@operations.get("", verb="list", summary="List sellers", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[SellerOut]:
    """The legal entities that sell, in their newest versions."""

    async def ask(connection: AsyncConnection) -> list[SellerOut]:
        return query.cut([seller_out(one) for one in await list_sellers(connection)], _id)

    return admin.page(query, await admin.read(ask), _id)


@operations.get("/{seller_id}", verb="show", summary="Retrieve a seller", roles=ALL)
async def retrieve(admin: Read, seller_id: str) -> SellerOut:
    """One seller."""

    async def ask(connection: AsyncConnection) -> SellerOut:
        for one in await list_sellers(connection):
            if one.seller.id == seller_id:
                return seller_out(one)
        raise NotFound(f"There is no seller {printable_excerpt(seller_id)}.", param="seller")

    return await admin.read(ask)


@operations.post("", verb="set", summary="Set a seller", roles=MONEY)
async def set_(admin: Write, body: SellerSet) -> SellerOut:
    """Add a seller, or replace one; documents that are issued keep their own copy."""

    async def command(work: UnitOfWork) -> SellerOut:
        return seller_out(await set_seller(work, seller_of(body)))

    return await admin.change(command)


@rates.get("", verb="list", summary="List exchange rates", roles=ALL)
async def list_rates_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[RateOut]:
    """Exchange rates by currency and day."""

    async def ask(connection: AsyncConnection) -> list[RateOut]:
        return query.cut([answer_of(RateOut, one) for one in await list_rates(connection)], _day)

    return admin.page(query, await admin.read(ask), _day)


@rates.post("", verb="create", summary="Add an exchange rate", roles=MONEY)
async def create(admin: Write, body: RateCreate) -> RateOut:
    """Add a day's rate; it stays, since documents rest on it."""

    async def command(work: UnitOfWork) -> RateOut:
        rate = ExchangeRate(body.currency, body.on_day, body.per_usd, body.source)
        return answer_of(RateOut, await add_rate(work, rate))

    return await admin.change(command)


def _id(seller: SellerOut) -> str:
    return seller.id


def _day(rate: RateOut) -> str:
    return f"{rate.currency} {rate.on_day}"
