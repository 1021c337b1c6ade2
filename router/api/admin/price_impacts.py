"""``/admin/v1/price-impacts``: whom another price touches; and the same, in short, in the dry run that sets it."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD, Price
from router.admin.price_impact import AccountImpact, PriceImpact, measure_price
from router.api.admin.references import model_id_of
from router.api.admin.request import Read
from router.api.fields import AccountIdText, EndpointIdText, Instant, ModelRef, Usd, UsdNotNegative
from router.api.forms import Answer, Page, PageQuery, answer_of
from router.api.operation import ALL, V1, Operations
from router.registry.endpoints import list_endpoints
from router.values import Endpoint, EndpointState
from store.ids import AccountId, ModelId, PriceId, new_id, wire

operations = Operations("price-impacts", f"{V1}/price-impacts")
# So many accounts stand in a dry run; all of them are listed by the operation here.
FIRST = 20


class AccountImpactOut(Answer):
    """An account's last 30 days at the price that holds and at the other one."""

    columns: ClassVar[tuple[str, ...]] = (
        *("account", "account_name", "calls", "tokens"),
        *("charged_usd", "before_usd", "after_usd", "difference_usd"),
    )

    account: AccountIdText
    account_name: str
    calls: int
    tokens: int
    charged_usd: Usd = Field(description="What the calls cost it then.")
    before_usd: Usd = Field(description="What they cost at the price that holds; of an endpoint's cost, us.")
    after_usd: Usd = Field(description="What they would cost at the other one.")
    difference_usd: Usd


class MarginOut(Answer):
    """What is left of the price at an endpoint, in USD per million tokens; null where no price is set."""

    endpoint: EndpointIdText
    provider_name: str
    state: EndpointState
    cost_usd_per_mtok: Usd
    before_usd_per_mtok: Usd | None
    after_usd_per_mtok: Usd | None


class ImpactOut(Answer):
    """Whom the change touches, by the usage of the last 30 days."""

    since: Instant
    until: Instant
    accounts: int = Field(description="How many accounts used it and are touched.")
    calls: int
    tokens: int
    charged_usd: Usd = Field(description="What their calls cost them then.")
    before_usd: Usd = Field(description="What they cost at the price that holds; of an endpoint's cost, us.")
    after_usd: Usd = Field(description="What they would cost at the other one.")
    difference_usd: Usd
    contract_accounts: int = Field(
        description="How many more used it and are not touched: a contract says their price."
    )
    contract_calls: int
    contract_charged_usd: Usd
    first: tuple[AccountImpactOut, ...] = Field(description="The accounts with the largest differences, at most 20.")
    margins: tuple[MarginOut, ...] = Field(description="By endpoint, before and after.")


class ImpactQuery(PageQuery):
    """Which price is imagined."""

    model: ModelRef = Field(description="The model, by id or alias.")
    usd_per_mtok: UsdNotNegative = Field(description="Its list price, in USD per million tokens.")
    batch_usd_per_mtok: UsdNotNegative | None = Field(None, description="The batch lane's; by default the price.")
    effective_at: Instant | None = Field(None, description="From when on; by default from now.")


@operations.get("", verb="list", name="list_price_impacts", summary="List whom a list price would touch", roles=ALL)
async def list_(admin: Read, query: Annotated[ImpactQuery, Query()]) -> Page[AccountImpactOut]:
    """The accounts that used the model in the last 30 days, at both prices, the largest difference first.

    Those whose price a contract says are not among them. Nothing is written.
    """

    async def ask(connection: AsyncConnection) -> list[AccountImpactOut]:
        now = admin.exchange.now
        model_id = await model_id_of(connection, query.model)
        starts_at = max(query.effective_at or now, now)
        planned = Price(PriceId(new_id()), model_id, query.usd_per_mtok, starts_at, query.batch_usd_per_mtok)
        impact = await measure_price(connection, planned, now)
        return query.cut([_row(row) for row in impact.touched], _key)

    return admin.page(query, await admin.read(ask), _key)


async def price_impact(
    connection: AsyncConnection, impact: PriceImpact, model: ModelId, before: Price | None, after: Price
) -> ImpactOut:
    """A list price's impact, with the margin at each endpoint."""
    served = [view.endpoint for view in await list_endpoints(connection, model)]
    now, then = None if before is None else before.nano_per_mtok, after.nano_per_mtok
    return impact_out(impact, [_margin(one, one.cost_nano_per_mtok, now, then) for one in served])


def cost_impact(impact: PriceImpact, endpoint: Endpoint, cost: NanoUSD, price: Price | None) -> ImpactOut:
    """The impact of another cost of an endpoint, with its margin."""
    listed = None if price is None else price.nano_per_mtok
    margin = _margin(endpoint, cost, listed, listed)
    before = None if listed is None else NanoUSD(listed - endpoint.cost_nano_per_mtok)
    return impact_out(impact, [margin.model_copy(update={"before_usd_per_mtok": before})])


def impact_out(impact: PriceImpact, margins: Iterable[MarginOut]) -> ImpactOut:
    """An impact with its totals and its first rows."""
    return ImpactOut(
        since=impact.since,
        until=impact.until,
        accounts=len(impact.touched),
        calls=sum(row.calls for row in impact.touched),
        tokens=sum(row.tokens for row in impact.touched),
        charged_usd=_total(row.charged for row in impact.touched),
        before_usd=_total(row.before for row in impact.touched),
        after_usd=_total(row.after for row in impact.touched),
        difference_usd=_total(row.difference for row in impact.touched),
        contract_accounts=len(impact.untouched),
        contract_calls=sum(row.calls for row in impact.untouched),
        contract_charged_usd=_total(row.charged for row in impact.untouched),
        first=tuple(_row(row) for row in impact.touched[:FIRST]),
        margins=tuple(margins),
    )


def _margin(endpoint: Endpoint, cost: int, before: int | None, after: int | None) -> MarginOut:
    return MarginOut(
        endpoint=endpoint.id,
        provider_name=endpoint.provider_name,
        state=endpoint.state,
        cost_usd_per_mtok=NanoUSD(cost),
        before_usd_per_mtok=None if before is None else NanoUSD(before - cost),
        after_usd_per_mtok=None if after is None else NanoUSD(after - cost),
    )


def _row(row: AccountImpact) -> AccountImpactOut:
    return answer_of(
        AccountImpactOut,
        row,
        account=row.account_id,
        charged_usd=row.charged,
        before_usd=row.before,
        after_usd=row.after,
        difference_usd=row.difference,
    )


def _key(row: AccountImpactOut) -> str:
    """Sorts by the size of the difference, the largest first."""
    return f"{10**20 - abs(row.difference_usd):021d} {wire(AccountId, row.account)}"


def _total(amounts: Iterable[NanoUSD]) -> NanoUSD:
    return NanoUSD(sum(amounts))
