"""``/v1/account/topups``: a customer orders credit and gets the page on which it is paid."""

from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.search import Wanted
from billing.stripe.topup_rules import TopupStatus
from billing.stripe.topups import Topup, find_topup, list_topups
from router.admin.payments import place_topup, require_stripe
from router.api.fields import TopupIdText, UsdCents
from router.api.forms import Body, Page, PageQuery
from router.api.operation import Operations, Who
from router.api.payment_answers import TopupFacts, topup_facts
from router.api.public.money_request import MoneyRequest
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.errors import NotFound
from router.identity.scopes import Scope
from store.ids import TopupId, wire

operations = Operations("topups", "/v1/account/topups", tag="Account", who=Who.KEY)

# How long an answer waits for jobs to make the page; Stripe takes about half a second.
PAGE_WAIT_S = 5.0


class TopupCreate(Body):
    """How much credit is ordered."""

    amount_usd: UsdCents = Field(description="How much, in whole cents. The page adds tax and takes a discount off.")
    save_card: bool = Field(False, description="Keep the card at Stripe, for later top-ups.")


class TopupOut(TopupFacts):
    """Credit that was ordered, and what became of it; amounts are USD as decimal text."""


@operations.post("", verb="create", scope=Scope.BILLING_WRITE, summary="Order credit", status=201)
async def create(request: MoneyRequest, body: TopupCreate, response: Response) -> TopupOut:
    """Order credit, once per Idempotency-Key; credit follows the payment.

    The answer is 202 where the page is not made within seconds: read the top-up until it has a url.
    """
    context, account_id = request.context, request.account_id
    require_stripe(context.stripe)
    request.refuse_test_key("A key for tests orders no credit: what it calls costs nothing.")

    async def order(tx: AsyncConnection) -> Topup:
        actor, once = request.actor, request.idempotency_key
        return await place_topup(
            tx, context.stripe, account_id, body.amount_usd, save_card=body.save_card, actor=actor, key=once
        )

    topup = await ask_postgres(context, order)
    if topup.status is TopupStatus.NEW:
        await context.topup_changes.wait(PAGE_WAIT_S, str(topup.id), unless=lambda: _is_made(request, topup.id))
        topup = await _find(request, topup.id)
    if topup.status is TopupStatus.NEW:
        response.status_code = 202
        response.headers["location"] = f"/v1/account/topups/{topup.reference}"
    return topup_out(topup)


@operations.get("", verb="list", scope=Scope.BILLING_READ, summary="List top-ups")
async def list_(request: Private, query: Annotated[PageQuery, Query()]) -> Page[TopupOut]:
    """The account's top-ups, the newest first."""
    before, most, account_id = query.after_id(TopupId), query.limit + 1, request.account_id
    found = await ask_postgres(
        request.context, lambda tx: list_topups(tx, Wanted(account_id=account_id), before=before, most=most)
    )
    rows = [_seen(request, row) for row in found]
    return request.paging.page(query, rows, lambda row: wire(TopupId, row.id))


@operations.get("/{topup_id}", verb="show", scope=Scope.BILLING_READ, summary="Retrieve a top-up")
async def show(request: Private, topup_id: Annotated[TopupIdText, Path()]) -> TopupOut:
    """One top-up of the account."""
    return _seen(request, await _find(request, topup_id))


def topup_out(topup: Topup) -> TopupOut:
    """A top-up as its customer sees it."""
    return TopupOut(**topup_facts(topup))


def _seen(request: Private, topup: Topup) -> TopupOut:
    """A top-up without the page on which it is paid, for who only looks."""
    out = topup_out(topup)
    return out.model_copy(update={"url": None}) if request.only_reads else out


async def _is_made(request: Private, topup_id: TopupId) -> bool:
    return (await _find(request, topup_id)).status is not TopupStatus.NEW


async def _find(request: Private, topup_id: TopupId) -> Topup:
    topup = await ask_postgres(request.context, lambda tx: find_topup(tx, "id", topup_id))
    if topup is None or topup.account_id != request.account_id:
        raise NotFound(f"This account has no top-up {wire(TopupId, topup_id)}.", param="topup")
    return topup
