"""``/v1/account/recharge``: a customer has credit bought by itself, and says when that ends."""

from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.recharge_rules import WORDING, RechargeStatus, Rule, words_of
from billing.stripe.recharges import find_under_way, read_need
from billing.stripe.values import Cents, nano_of
from router.admin.recharge import consent, switch_off_by_customer
from router.api.fields import Instant, TopupIdText, UsdCents, UsdNotNegative, text_of
from router.api.forms import Answer, Body
from router.api.operation import Operations, Who
from router.api.public.money_request import MoneyRequest
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.identity.scopes import Scope
from store.ids import AccountId

operations = Operations("recharge", "/v1/account/recharge", tag="Account", who=Who.KEY)
# What the words are shown with before anybody has set amounts.
EXAMPLE = Rule(threshold=Cents(500), amount=Cents(2_500), month_max=Cents(10_000))


class ConsentOut(Answer):
    """Who consented to what, and when."""

    by: str
    at: Instant
    wording: str
    words: str


class UnderWayOut(Answer):
    """A recharge that is not over: the top-up of the same id has its url, where the bank wants a confirmation."""

    topup: TopupIdText
    status: RechargeStatus
    tries: int = Field(description="How often the bank declined it.")
    next_at: Instant = Field(description="When it is tried again, or until when it can be confirmed.")
    problem: str


class RechargeOut(Answer):
    """Auto-recharge of the account; amounts are USD as decimal text."""

    is_on: bool
    threshold_usd: UsdCents | None = Field(description="Below so much credit it buys. Null: it was never set.")
    amount_usd: UsdCents | None = Field(description="How much it buys, without tax.")
    month_max_usd: UsdCents | None = Field(description="The most that it buys in a calendar month (UTC).")
    month_bought_usd: UsdNotNegative = Field(description="What it bought this month, also what is under way.")
    consent: ConsentOut | None = Field(description="Null where it is off.")
    off_reason: str | None = Field(description="Why it is off; null where it is on, or was never set.")
    changed_at: Instant | None
    under_way: UnderWayOut | None
    wording: str = Field(description="The version of the words that a person consents to now.")
    words: str = Field(description="The words with the amounts that are set, or with examples.")
    currency: Literal["USD"] = "USD"
    object: Literal["recharge"] = "recharge"


class RechargeSet(Body):
    """What a person consents to."""

    threshold_usd: UsdCents = Field(description="Below so much credit it buys.")
    amount_usd: UsdCents = Field(description="How much it buys; tax is added.")
    month_max_usd: UsdCents = Field(description="The most that it buys in a calendar month (UTC), without tax.")
    consented_by: Annotated[str, text_of(200)] = Field(description="The name of the person who read the words.")
    wording: Annotated[str, text_of(40)] = Field(description="The version of the words that were shown to that person.")


@operations.get("", verb="show", scope=Scope.BILLING_READ, summary="Show auto-recharge")
async def show(request: Private) -> RechargeOut:
    """Whether credit is bought by itself, by whose consent, and how far the one under way is."""
    return await ask_postgres(request.context, lambda tx: _out(tx, request.account_id))


@operations.post("", verb="set", scope=Scope.BILLING_WRITE, summary="Switch auto-recharge on", status=200)
async def set_(request: MoneyRequest, body: RechargeSet) -> RechargeOut:
    """Switch it on, or change its amounts, by a person's consent; once per Idempotency-Key.

    A card has to be saved first, by a top-up with save_card or in the portal. A repeated request switches nothing on
    again that was switched off meanwhile.
    """
    account_id = request.account_id
    request.refuse_test_key("A key for tests buys no credit: what it calls costs nothing.")
    rule = Rule(threshold=body.threshold_usd, amount=body.amount_usd, month_max=body.month_max_usd)

    async def command(tx: AsyncConnection) -> RechargeOut:
        await consent(
            tx,
            request.context.stripe,
            account_id,
            rule,
            wording=body.wording,
            consented_by=body.consented_by,
            actor=request.actor,
            key=request.idempotency_key,
        )
        return await _out(tx, account_id)

    return await ask_postgres(request.context, command)


@operations.post("/off", verb="off", scope=Scope.BILLING_WRITE, summary="Switch auto-recharge off", status=200)
async def off(request: Private) -> RechargeOut:
    """Switch it off. What is under way is canceled, unless it is paid already. Off stays off."""

    async def command(tx: AsyncConnection) -> RechargeOut:
        await switch_off_by_customer(tx, request.account_id, request.actor)
        return await _out(tx, request.account_id)

    return await ask_postgres(request.context, command)


async def _out(tx: AsyncConnection, account_id: AccountId) -> RechargeOut:
    found = await read_need(tx, account_id)
    stored, under_way = found.stored, await find_under_way(tx, account_id)
    given = None
    if stored is not None and stored.is_on:
        given = ConsentOut(by=stored.consented_by, at=stored.created_at, wording=stored.wording, words=stored.words)
    return RechargeOut(
        is_on=stored is not None and stored.is_on,
        threshold_usd=stored.threshold_cents if stored else None,
        amount_usd=stored.amount_cents if stored else None,
        month_max_usd=stored.month_max_cents if stored else None,
        month_bought_usd=nano_of(found.bought_cents),
        consent=given,
        off_reason=stored.reason if stored and not stored.is_on else None,
        changed_at=stored.created_at if stored else None,
        under_way=None
        if under_way is None
        else UnderWayOut(
            topup=under_way.topup_id,
            status=under_way.status,
            tries=under_way.tries,
            next_at=under_way.look_at,
            problem=under_way.problem,
        ),
        wording=WORDING,
        words=words_of(stored.rule if stored else EXAMPLE),
    )
