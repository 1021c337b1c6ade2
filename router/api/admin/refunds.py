"""``/admin/v1/finance/refunds``: credit that was paid for and is paid back."""

from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD, to_usd
from billing.stripe.refund_rules import RefundStatus
from billing.stripe.refunds import RefundOrder, RefundRow, list_refunds
from billing.stripe.values import nano_of
from router.admin.payments import place_refund
from router.api.admin.payment_search import PaymentQuery, wanted_of
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef, RefundIdText, TopupIdText, UsdCents, text_of
from router.api.forms import Answer, Body, Page
from router.api.operation import ALL, MONEY, V1, Operations
from router.api.payment_answers import RefundFacts, refund_facts
from router.changes.audit import Change
from router.changes.second_person import MoneyKind
from router.changes.transaction import UnitOfWork
from store.ids import RefundId, RequestId, TopupId, wire

operations = Operations("refunds", f"{V1}/finance/refunds", tag="Finance")


class RefundLine(RefundFacts):
    """A refund of one top-up as finance sees it."""

    columns: ClassVar[tuple[str, ...]] = ("id", "account", "topup", "status", "credit_usd", "tax_usd", "problem")

    account: AccountIdText
    reason: str
    ordered_by: str
    stripe_refund: str | None
    problem: str


class RefundLines(Answer):
    """What was ordered: one refund for each top-up that it takes of."""

    columns: ClassVar[tuple[str, ...]] = ("id",)

    id: RefundIdText = Field(description="The first of them.")
    data: list[RefundLine]


class RefundOrderForm(Body):
    """Credit that is to be paid back to a customer."""

    account: AccountRef = Field(description="Whose.")
    amount_usd: UsdCents | None = Field(None, description="How much credit, in whole cents; null: all that can be.")
    topup: TopupIdText | None = Field(None, description="The top-up to refund; null: the newest first.")
    reason: Annotated[str, text_of(500)] = Field(description="Why, for whoever looks next.")


class RefundQuery(PaymentQuery):
    """Which refunds are listed."""

    status: RefundStatus | None = Field(None, description="Those in this state.")


@operations.get("", verb="list", name="admin_list_refunds", summary="List refunds", roles=ALL)
async def list_(admin: Read, query: Annotated[RefundQuery, Query()]) -> Page[RefundLine]:
    """Refunds of an account, or of all, the newest first."""
    after = query.after_id(RefundId)

    async def ask(connection: AsyncConnection) -> list[RefundLine]:
        wanted = await wanted_of(connection, query, query.status)
        rows = await list_refunds(connection, wanted, before=after, most=query.limit + 1)
        return [_line(row) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: wire(RefundId, row.id))


@operations.post("", verb="create", name="admin_create_refund", summary="Refund unused credit", roles=MONEY, status=201)
async def create(admin: Write, body: RefundOrderForm) -> RefundLines:
    """Pay back credit that was paid for and not used, the newest first. Jobs take the credit, then ask Stripe."""

    async def command(work: UnitOfWork) -> RefundLines:
        account = await account_of(work.connection, body.account)
        order = RefundOrder(
            account_id=account.id,
            amount=body.amount_usd,
            topup_id=body.topup,
            reason=body.reason,
            actor=work.actor,
            # A repeated request with an Idempotency-Key never gets here.
            key=f"operator:{wire(RequestId, admin.exchange.request_id)}",
        )
        rows = await place_refund(work.connection, admin.context.stripe, order)
        wanted = NanoUSD(sum(nano_of(row.wanted_cents) for row in rows))
        await admin.require_second_person(work, MoneyKind.REFUND, account.id, wanted)
        for row in rows:
            facts = {"wanted_usd": to_usd(nano_of(row.wanted_cents)), "topup": wire(TopupId, row.topup_id)}
            change = Change("refund.create", row.reference, account.id, after={**facts}, reason=body.reason)
            work.record_change(change)
        return RefundLines(id=rows[0].id, data=[_line(row) for row in rows])

    return await admin.change(command)


def _line(row: RefundRow) -> RefundLine:
    return RefundLine(
        **refund_facts(row),
        account=row.account_id,
        reason=row.reason,
        ordered_by=row.actor,
        stripe_refund=row.refund_id,
        problem=row.problem,
    )
