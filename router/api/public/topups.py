"""``/v1/account/topups``: a customer orders credit and gets the page on which it is paid."""

from typing import Annotated, Literal

from fastapi import Path, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.stripe.topup_rules import TopupStatus
from billing.stripe.topups import Topup, find_topup, list_topups
from billing.stripe.values import nano_of
from router.admin.payments import place_topup, require_stripe
from router.api.fields import Instant, TopupIdText, UsdCents
from router.api.forms import Answer, Body, Page, PageQuery
from router.api.operation import Operations, Who
from router.api.public.money_request import MoneyRequest, ask_postgres
from router.api.public.request import Private
from router.errors import NotAllowed, NotFound
from store.ids import KeyId, TopupId, wire

operations = Operations("topups", "/v1/account/topups", tag="Account", who=Who.KEY)

# How long an answer waits for jobs to make the page; Stripe takes about half a second.
PAGE_WAIT_S = 5.0


class TopupCreate(Body):
    """How much credit is ordered."""

    amount_usd: UsdCents = Field(description="How much, in whole cents. The page adds tax and takes a discount off.")
    save_card: bool = Field(False, description="Keep the card at Stripe, for later top-ups.")


class TopupOut(Answer):
    """Credit that was ordered, and what became of it; amounts are USD as decimal text."""

    id: TopupIdText
    status: TopupStatus = Field(
        description="new: the page is being made, ask again. open: pay at url. processing: paid by a method that "
        "settles later. paid: credited. failed, expired: nothing was credited. review: paid, and a person looks at it."
    )
    is_recharge: bool = Field(description="Ordered by auto-recharge.")
    amount_usd: UsdCents
    url: str | None = Field(description="The page at Stripe on which it is paid; null before and afterwards.")
    paid_usd: str | None = Field(description="What was paid in all: the amount less the discount, and the tax.")
    tax_usd: str | None
    discount_usd: str | None = Field(description="What a promotion code took off; its credit is promotional.")
    problem: str
    created_at: Instant
    paid_at: Instant | None
    currency: Literal["USD"] = "USD"
    object: Literal["topup"] = "topup"


@operations.post("", verb="create", summary="Order credit", status=201)
async def create(request: MoneyRequest, body: TopupCreate, response: Response) -> TopupOut:
    """Order credit, once per Idempotency-Key; credit follows the payment.

    The answer is 202 where the page is not made within seconds: read the top-up until it has a url.
    """
    context, key = request.context, request.key
    require_stripe(context.stripe)
    if key.is_test:
        raise NotAllowed("A key for tests orders no credit: what it calls costs nothing.")

    async def order(tx: AsyncConnection) -> Topup:
        actor, once = wire(KeyId, key.id), request.idempotency_key
        return await place_topup(
            tx, context.stripe, key.account_id, body.amount_usd, save_card=body.save_card, actor=actor, key=once
        )

    topup = await ask_postgres(context, order)
    if topup.status is TopupStatus.NEW:
        await context.topup_changes.wait(PAGE_WAIT_S, str(topup.id), unless=lambda: _is_made(request, topup.id))
        topup = await _find(request, topup.id)
    if topup.status is TopupStatus.NEW:
        response.status_code = 202
        response.headers["location"] = f"/v1/account/topups/{topup.reference}"
    return topup_out(topup)


@operations.get("", verb="list", summary="List top-ups")
async def list_(request: Private, query: Annotated[PageQuery, Query()]) -> Page[TopupOut]:
    """The account's top-ups, the newest first."""
    after = query.after_id(TopupId)

    async def ask(tx: AsyncConnection) -> list[Topup]:
        before = None if after is None else TopupId(after)
        return await list_topups(tx, request.key.account_id, before=before, most=query.limit + 1)

    rows = [topup_out(row) for row in await ask_postgres(request.context, ask)]
    return request.paging.page(query, rows, lambda row: wire(TopupId, row.id))


@operations.get("/{topup_id}", verb="show", summary="Retrieve a top-up")
async def show(request: Private, topup_id: Annotated[TopupIdText, Path()]) -> TopupOut:
    """One top-up of the account."""
    return topup_out(await _find(request, topup_id))


def topup_out(topup: Topup) -> TopupOut:
    """A top-up as its customer sees it."""

    def usd(cents: int | None) -> str | None:
        return None if cents is None else to_usd(nano_of(cents))

    return TopupOut(
        id=topup.id,
        status=topup.status,
        is_recharge=topup.is_recharge,
        amount_usd=topup.amount_cents,
        url=topup.url if topup.status is TopupStatus.OPEN else None,
        paid_usd=usd(topup.paid_cents),
        tax_usd=usd(topup.tax_cents),
        discount_usd=usd(topup.discount_cents),
        problem=topup.problem,
        created_at=topup.created_at,
        paid_at=topup.paid_at,
    )


async def _is_made(request: Private, topup_id: TopupId) -> bool:
    return (await _find(request, topup_id)).status is not TopupStatus.NEW


async def _find(request: Private, topup_id: TopupId) -> Topup:
    topup = await ask_postgres(request.context, lambda tx: find_topup(tx, "id", topup_id))
    if topup is None or topup.account_id != request.key.account_id:
        raise NotFound(f"This account has no top-up {wire(TopupId, topup_id)}.", param="topup")
    return topup
