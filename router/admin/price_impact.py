"""Says whom another list price, or another cost of an endpoint, touches: the accounts that used it in the last 30 days.

Their tokens are rated at both prices, by lane, as sums of an account: where a price is no whole number of nano-dollars
a token, single calls cost up to a nano-dollar more each. Test keys' calls are left out, since they cost nothing at any
price. An account whose contract names the model's price is not touched, and is counted apart; a percentage off is.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import account_names
from billing.contracts.store import list_terms
from billing.money import NanoUSD, Price, batch_price, cost_ceil
from billing.prices import list_prices
from billing.rollups.read import sum_rolled
from billing.usage import UsageFilter, UsageSum
from router.registry.indexes import SANDBOX_PROVIDER, PriceIndex
from router.values import Endpoint
from store.ids import AccountId, ModelId, ProviderId

SPAN: Final = timedelta(days=30)


class AccountImpact(msgspec.Struct, frozen=True):
    """An account's usage at both prices; ``charged`` is what the calls cost it then, overdraft included."""

    account_id: AccountId
    account_name: str
    calls: int
    tokens: int
    charged: NanoUSD
    before: NanoUSD
    after: NanoUSD

    @property
    def difference(self) -> NanoUSD:
        """What it would have paid more, or less than nothing where it would have paid less."""
        return NanoUSD(self.after - self.before)


class PriceImpact(msgspec.Struct, frozen=True):
    """Whom a price touches, the largest difference first; and whom not, because a contract makes their price."""

    since: datetime
    until: datetime
    touched: tuple[AccountImpact, ...]
    untouched: tuple[AccountImpact, ...] = ()


# What an account's usage in one lane costs before and after.
_Rate = Callable[[UsageSum], tuple[NanoUSD, NanoUSD]]


async def measure_price(tx: AsyncConnection, planned: Price, now: datetime) -> PriceImpact:
    """Whom a list price touches from its instant on, whether it is stored by now or not."""
    others = [price for price in await list_prices(tx) if price.id != planned.id]
    terms = await list_terms(tx)
    before, after = PriceIndex(others, terms), PriceIndex([*others, planned], terms)

    def price_of(index: PriceIndex, row: UsageSum) -> int:
        assert row.account_id is not None, "usage is grouped by account; this is a bug"
        found = index.of_account(row.account_id, planned.model_id, planned.effective_at)
        return 0 if found is None else (batch_price(found) if row.lane == "batch" else found).nano_per_mtok

    def rate(row: UsageSum) -> tuple[NanoUSD, NanoUSD]:
        return cost_ceil(row.tokens, price_of(before, row)), cost_ceil(row.tokens, price_of(after, row))

    def is_agreed(account_id: AccountId) -> bool:
        was, then = (i.of_account(account_id, planned.model_id, planned.effective_at) for i in (before, after))
        return was is not None and was.agreement is not None and was == then

    used = await _used(tx, planned.model_id, now)
    rows = await _rated(tx, used, rate)
    return PriceImpact(
        now - SPAN,
        now,
        _largest_first(row for row in rows if not is_agreed(row.account_id)),
        _largest_first(row for row in rows if is_agreed(row.account_id)),
    )


async def measure_cost(tx: AsyncConnection, endpoint: Endpoint, cost_nano_per_mtok: int, now: datetime) -> PriceImpact:
    """Whose calls another cost of an endpoint makes dearer or cheaper to us; what they pay stays."""
    used = await _used(tx, endpoint.model_id, now, endpoint.provider_id)

    def rate(row: UsageSum) -> tuple[NanoUSD, NanoUSD]:
        return cost_ceil(row.tokens, endpoint.cost_nano_per_mtok), cost_ceil(row.tokens, cost_nano_per_mtok)

    return PriceImpact(now - SPAN, now, _largest_first(await _rated(tx, used, rate)))


async def _used(
    tx: AsyncConnection, model_id: ModelId, now: datetime, provider_id: ProviderId | None = None
) -> list[UsageSum]:
    which = UsageFilter(now - SPAN, now, model_ids=(model_id,), provider_id=provider_id)
    rows = await sum_rolled(tx, which, ("account", "lane", "provider"))
    return [row for row in rows if row.provider_id != SANDBOX_PROVIDER]


async def _rated(tx: AsyncConnection, used: Iterable[UsageSum], rate: _Rate) -> list[AccountImpact]:
    """The usage of each account, of its lanes and providers together."""
    sums: dict[AccountId, list[int]] = defaultdict(lambda: [0] * 5)
    for row in used:
        assert row.account_id is not None, "usage is grouped by account; this is a bug"
        added = (row.calls, row.tokens, row.charged + row.overdraft, *rate(row))
        sums[row.account_id] = [total + more for total, more in zip(sums[row.account_id], added, strict=True)]
    names = await account_names(tx, sums)
    return [
        AccountImpact(account, names.get(account, ""), calls, tokens, *map(NanoUSD, amounts))
        for account, (calls, tokens, *amounts) in sums.items()
    ]


def _largest_first(rows: Iterable[AccountImpact]) -> tuple[AccountImpact, ...]:
    return tuple(sorted(rows, key=lambda row: (-abs(row.difference), row.account_id)))
