"""``/v1/account/refunds``: a customer gets back what is left of credit that was paid for."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field

from billing.stripe.refunds import RefundOrder, RefundRow, list_refunds
from billing.stripe.search import Wanted
from router.admin.payments import place_refund
from router.api.fields import TopupIdText, UsdCents
from router.api.forms import Answer, Body, Page, PageQuery
from router.api.operation import Operations, Who
from router.api.payment_answers import RefundFacts, refund_facts
from router.api.public.money_request import MoneyRequest
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.identity.scopes import Scope
from store.ids import RefundId, wire

operations = Operations("refunds", "/v1/account/refunds", tag="Account", who=Who.KEY)


class RefundCreate(Body):
    """How much credit is to be refunded."""

    amount_usd: UsdCents | None = Field(
        None, description="How much credit, in whole cents; null: all that can be. Its share of the tax is added."
    )
    topup: TopupIdText | None = Field(None, description="The top-up to refund; null: the newest first.")


class RefundOut(RefundFacts):
    """A refund of one top-up; amounts are USD as decimal text."""


class RefundsOut(Answer):
    """What was ordered: one refund for each top-up that it takes of."""

    data: list[RefundOut]
    object: Literal["list"] = "list"


@operations.post("", verb="create", scope=Scope.BILLING_WRITE, summary="Refund unused credit", status=201)
async def create(request: MoneyRequest, body: RefundCreate) -> RefundsOut:
    """Refund credit that was paid for and not used, the newest first, to where it was paid from."""
    order = RefundOrder(
        account_id=request.account_id,
        amount=body.amount_usd,
        topup_id=body.topup,
        reason="requested_by_customer",
        actor=request.actor,
        key=request.idempotency_key,
    )
    rows = await ask_postgres(request.context, lambda tx: place_refund(tx, request.context.stripe, order))
    return RefundsOut(data=[refund_out(row) for row in rows])


@operations.get("", verb="list", scope=Scope.BILLING_READ, summary="List refunds")
async def list_(request: Private, query: Annotated[PageQuery, Query()]) -> Page[RefundOut]:
    """The account's refunds, the newest first."""
    before, most, account_id = query.after_id(RefundId), query.limit + 1, request.account_id
    found = await ask_postgres(
        request.context, lambda tx: list_refunds(tx, Wanted(account_id=account_id), before=before, most=most)
    )
    rows = [refund_out(row) for row in found]
    return request.paging.page(query, rows, lambda row: wire(RefundId, row.id))


def refund_out(row: RefundRow) -> RefundOut:
    """A refund as its customer sees it."""
    return RefundOut(**refund_facts(row))
