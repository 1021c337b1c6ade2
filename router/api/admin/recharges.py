"""``/admin/v1/finance/recharges``: auto-recharge of the accounts. Operators see it and switch it off, and never on."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.recharge_rules import RechargeStatus
from billing.stripe.recharges import StoredRule, find_under_way, list_rules, read_need, read_rule
from billing.stripe.values import nano_of
from router.admin.recharge import switch_off
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef, Instant, TopupIdText, UsdCents, UsdNotNegative, text_of
from router.api.forms import Body, Page, PageQuery, Resource
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import AccountId, wire

operations = Operations("recharges", f"{V1}/finance/recharges", tag="Finance")


class RechargeRow(Resource):
    """Auto-recharge of an account, as it holds now."""

    volatile: ClassVar[frozenset[str]] = frozenset({"month_bought_usd", "topup", "status"})
    columns: ClassVar[tuple[str, ...]] = (
        *("account", "is_on", "threshold_usd", "amount_usd", "month_max_usd", "month_bought_usd"),
        *("status", "off_reason"),
    )

    account: AccountIdText
    version: int
    is_on: bool
    threshold_usd: UsdCents
    amount_usd: UsdCents
    month_max_usd: UsdCents
    month_bought_usd: UsdNotNegative = Field(description="What it bought this month, also what is under way.")
    consented_by: str | None = Field(description="The person who consented; null where it is off.")
    words: str | None = Field(description="The words that were consented to.")
    off_reason: str | None
    changed_by: str
    changed_at: Instant
    topup: TopupIdText | None = Field(description="The recharge that is under way.")
    status: RechargeStatus | None = Field(description="What it waits for.")
    currency: Literal["USD"] = "USD"
    object: Literal["recharge"] = "recharge"


class RechargeOff(Body):
    """Why it ends."""

    reason: Annotated[str, text_of(400)] = Field(description="Why; the customer is told so.")


@operations.get("", verb="list", name="admin_list_recharges", summary="List auto-recharge of accounts", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[RechargeRow]:
    """The accounts that have or had auto-recharge."""
    after = query.after_id(AccountId)

    async def ask(connection: AsyncConnection) -> list[RechargeRow]:
        since = None if after is None else AccountId(after)
        rules = await list_rules(connection, after=since, most=query.limit + 1)
        return [await _row(connection, stored) for stored in rules]

    return admin.page(query, await admin.read(ask), lambda row: wire(AccountId, row.account))


@operations.get("/{account_id}", verb="show", name="admin_show_recharge", summary="Show auto-recharge", roles=ALL)
async def show(admin: Read, account_id: AccountRef) -> RechargeRow:
    """Auto-recharge of one account, with the consent."""

    async def ask(connection: AsyncConnection) -> RechargeRow:
        account = await account_of(connection, account_id)
        stored = await read_rule(connection, account.id)
        if stored is None:
            raise NotFound(f"{account.name} never had auto-recharge.", param="account")
        return await _row(connection, stored)

    return await admin.read(ask)


@operations.post(
    "/{account_id}/off", verb="off", name="admin_stop_recharge", summary="Switch auto-recharge off", roles=MONEY
)
async def off(admin: Write, account_id: AccountRef, body: RechargeOff) -> RechargeRow:
    """Switch it off, for good until a person of the account's consents anew; the customer is told by mail."""

    async def command(work: UnitOfWork) -> RechargeRow:
        account = await account_of(work.connection, account_id)
        return await _row(work.connection, await switch_off(work, account.id, body.reason))

    return await admin.change(command)


async def _row(connection: AsyncConnection, stored: StoredRule) -> RechargeRow:
    found = await read_need(connection, stored.account_id)
    under_way = await find_under_way(connection, stored.account_id)
    return RechargeRow(
        account=stored.account_id,
        version=stored.version,
        is_on=stored.is_on,
        threshold_usd=stored.threshold_cents,
        amount_usd=stored.amount_cents,
        month_max_usd=stored.month_max_cents,
        month_bought_usd=nano_of(found.bought_cents),
        consented_by=stored.consented_by or None,
        words=stored.words or None,
        off_reason=stored.reason or None,
        changed_by=stored.actor,
        changed_at=stored.created_at,
        topup=under_way.topup_id if under_way else None,
        status=under_way.status if under_way else None,
    )
