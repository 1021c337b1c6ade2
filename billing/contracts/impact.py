"""Says what an account's contracts, as they are in a transaction, would have made of its last month's usage.

Each call is rated anew at the prices of an instant, by its model and lane, and rounded as a call is. That a call never
costs more than was held for it is left out: it was held by the price of its time.
"""

from datetime import UTC, date, datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.rules import Contract, by_scope, price_under, term_for
from billing.contracts.store import list_contracts, list_terms
from billing.money import NanoUSD, Price, batch_price, price_at
from store.ids import AccountId, ModelId, PriceId

_USED = text("""
    SELECT u.model_id, u.nano_per_mtok, u.nano_per_mtok <> p.nano_per_mtok AS is_batch, u.price_id, count(*) AS calls,
        sum(u.cost_nano)::bigint AS cost
    FROM usage_events u JOIN charged_prices p ON p.id = u.price_id
    WHERE u.account_id = :account AND u.occurred_at >= :since AND u.occurred_at < :until AND u.nano_per_mtok > 0
    GROUP BY 1, 2, 3, 4
""")
_RATED = text("""
    SELECT coalesce(sum(div(u.tokens::numeric * n.price + 999999, 1000000)), 0)::bigint
    FROM usage_events u JOIN unnest(CAST(:ids AS uuid[]), CAST(:before AS bigint[]), CAST(:prices AS bigint[]))
        AS n (id, before, price) ON n.id = u.price_id AND n.before = u.nano_per_mtok
    WHERE u.account_id = :account AND u.occurred_at >= :since AND u.occurred_at < :until
""")
_LISTED = text("SELECT id, model_id, nano_per_mtok, effective_at, batch_nano_per_mtok FROM prices ORDER BY 2, 4")


class Impact(msgspec.Struct, frozen=True):
    """Last month's calls: what they cost, what they would cost, and what a minimum would add to that."""

    period: date
    calls: int
    cost: NanoUSD
    would_cost: NanoUSD
    would_lack: NanoUSD


async def measure_impact(tx: AsyncConnection, account_id: AccountId, at: datetime, now: datetime) -> Impact:
    """What the contracts that hold at ``at`` mean for the usage of the month before ``now``."""
    first = now.astimezone(UTC).date().replace(day=1)
    period = (first - timedelta(days=1)).replace(day=1)
    since, until = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (period, first))
    span = {"account": account_id, "since": since, "until": until}
    used = list(await tx.execute(_USED, span))
    prices = await _prices_at(tx, account_id, at)
    after = [_lane_price(prices.get(row.model_id), row.nano_per_mtok, is_batch=row.is_batch) for row in used]
    which = {"ids": [row.price_id for row in used], "before": [row.nano_per_mtok for row in used], "prices": after}
    would = int(await tx.scalar(_RATED, {**span, **which}) or 0)
    minimum = max((contract.minimum or 0 for contract in await _in_force(tx, account_id, at)), default=0)
    cost, calls = sum(int(row.cost) for row in used), sum(int(row.calls) for row in used)
    return Impact(period, calls, NanoUSD(cost), NanoUSD(would), NanoUSD(max(0, minimum - would)))


async def _prices_at(tx: AsyncConnection, account_id: AccountId, at: datetime) -> dict[str, Price]:
    """What the account pays for each model at an instant."""
    listed: dict[ModelId, list[Price]] = {}
    for row in await tx.execute(_LISTED):
        listed.setdefault(ModelId(row.model_id), []).append(Price(PriceId(row[0]), ModelId(row[1]), *row[2:]))
    terms = by_scope(await list_terms(tx, account_id))
    named = {model for model in terms if model is not None}
    found: dict[str, Price] = {}
    for model in {*listed, *named}:
        price, term = price_at(listed.get(model, []), at), term_for(terms, model, at)
        price = price if term is None else price_under(term, price)
        if price is not None:
            found[model] = price
    return found


def _lane_price(price: Price | None, before: int, *, is_batch: bool) -> int:
    if price is None:
        return before
    return batch_price(price).nano_per_mtok if is_batch else price.nano_per_mtok


async def _in_force(tx: AsyncConnection, account_id: AccountId, at: datetime) -> list[Contract]:
    found = await list_contracts(tx, account_id)
    return [
        contract for contract in found if contract.effective_at <= at and (not contract.until or at < contract.until)
    ]
