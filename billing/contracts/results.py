"""Says what an account pays by a contract for each model that the contract reaches, beside the list price."""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.rules import Contract, by_scope, price_under
from billing.money import NanoUSD, Price
from store.ids import ModelId, PriceId

_LISTED = text("""
    SELECT DISTINCT ON (model_id) id, model_id, nano_per_mtok, effective_at, batch_nano_per_mtok
    FROM prices WHERE effective_at <= :at ORDER BY model_id, effective_at DESC, id DESC
""")


class Result(msgspec.Struct, frozen=True):
    """A model's price by a contract, per million tokens; ``listed`` is None for a model without a list price.

    The batch lane's are None where it has no price of its own.
    """

    model: ModelId
    listed: NanoUSD | None
    listed_batch: NanoUSD | None
    price: NanoUSD
    batch_price: NanoUSD | None


async def read_results(tx: AsyncConnection, contract: Contract, now: datetime) -> list[Result]:
    """The prices that a contract makes, by model: as of now, or of its first or last instant where it does not hold."""
    at = max(now, contract.effective_at)
    if contract.until is not None and contract.until <= at:
        at = contract.until - timedelta(microseconds=1)
    listed: dict[ModelId, Price] = {}
    for row in await tx.execute(_LISTED, {"at": at}):
        listed[ModelId(row.model_id)] = Price(PriceId(row[0]), ModelId(row[1]), *row[2:])
    terms = by_scope(contract.terms)
    found = []
    for model in sorted({*listed, *(model for model in terms if model is not None)}):
        term = next(iter(terms.get(model) or terms.get(None) or ()), None)
        price = None if term is None else price_under(term, listed.get(model))
        if price is not None:
            found.append(_result(price, listed.get(model)))
    return found


def _result(price: Price, listed: Price | None) -> Result:
    return Result(
        price.model_id,
        None if listed is None else NanoUSD(listed.nano_per_mtok),
        None if listed is None or listed.batch_nano_per_mtok is None else NanoUSD(listed.batch_nano_per_mtok),
        NanoUSD(price.nano_per_mtok),
        None if price.batch_nano_per_mtok is None else NanoUSD(price.batch_nano_per_mtok),
    )
