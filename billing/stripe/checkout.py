"""Makes the page on which a customer pays: a customer and a Checkout session at Stripe, from a row that is final."""

from datetime import timedelta

from sqlalchemy import text

from billing.money import to_usd
from billing.stripe.context import StripeContext
from billing.stripe.errors import StripeFailed, StripeRefused
from billing.stripe.reviews import Cause, open_review
from billing.stripe.topup_rules import TopupStatus
from billing.stripe.topups import Topup, find_topup
from billing.stripe.values import CURRENCY, nano_of
from store.ids import AccountId, TopupId, parse, wire

# Who has waited for a page longer than this has gone.
PAGE_WITHIN = timedelta(hours=1)
# Stripe closes a page by itself at the latest after a day; less the hour that it may take to make it.
PAGE_LIVES = timedelta(hours=23)

_CUSTOMER = text("SELECT customer_id FROM stripe_customers WHERE account_id = :account")
_KEEP_CUSTOMER = text(
    "INSERT INTO stripe_customers (account_id, customer_id) VALUES (:account, :customer) ON CONFLICT DO NOTHING"
)
_OPEN = text("""
    UPDATE topups SET status = 'open', session_id = :session, url = :url, changed_at = now()
    WHERE id = :id AND status = 'new'
""")
_END = text("""
    UPDATE topups SET status = :status, problem = :problem, changed_at = now() WHERE id = :id AND status = 'new'
""")
_NEXT_ATTEMPT = text("UPDATE topups SET attempt = attempt + 1 WHERE id = :id AND status = 'new'")
NO_PAGE = "Stripe did not make the page for the payment. Nothing was paid; order it again."


async def make_page(context: StripeContext, reference: str) -> None:
    """Make the page of a new top-up, once. Raises :class:`billing.stripe.errors.StripeUnavailable`."""
    topup_id = TopupId(parse(TopupId, reference))
    async with context.db.transaction() as tx:
        topup = await find_topup(tx, "id", topup_id)
    if topup is None or topup.status is not TopupStatus.NEW or topup.is_recharge:
        return
    if context.db.clock.now() - topup.created_at > PAGE_WITHIN:
        await _end(context, topup, TopupStatus.EXPIRED, "Stripe could not be reached for an hour. Order it again.")
        return
    try:
        key = f"{topup.reference}:{topup.attempt}"
        customer = await find_or_make_customer(context, topup.account_id, str(topup.attempt))
        session = await context.client.create_session(session_of(context, topup, customer), key)
    except StripeFailed:
        # Its key answers with this failure for a day. A page that was made nevertheless is known to nobody.
        async with context.db.transaction() as tx:
            await tx.execute(_NEXT_ATTEMPT, {"id": topup.id})
        raise
    except StripeRefused as refused:
        await _end(context, topup, TopupStatus.FAILED, NO_PAGE, detail=str(refused))
        return
    async with context.db.transaction() as tx:
        await tx.execute(_OPEN, {"id": topup.id, "session": session.id, "url": session.url})


def session_of(context: StripeContext, topup: Topup, customer: str) -> dict[str, object]:
    """What a page is made from. It depends on the row and the settings alone: a repeated request is the same."""
    config, reference = context.config, topup.reference
    price = {
        "currency": CURRENCY,
        "unit_amount": topup.amount_cents,
        "tax_behavior": "exclusive",
        "product_data": {"name": f"Credit of {to_usd(nano_of(topup.amount_cents))} USD"},
    }
    metadata = {"topup": reference, "account": wire(AccountId, topup.account_id)}
    payment: dict[str, object] = {"metadata": metadata}
    if topup.save_card:
        payment["setup_future_usage"] = "off_session"
    session: dict[str, object] = {
        "mode": "payment",
        "customer": customer,
        "client_reference_id": reference,
        "line_items": [{"quantity": 1, "price_data": price}],
        "allow_promotion_codes": True,
        "metadata": metadata,
        "payment_intent_data": payment,
        "success_url": config.return_address("paid", reference),
        "cancel_url": config.return_address("left", reference),
        "expires_at": int((topup.created_at + PAGE_LIVES).timestamp()),
    }
    if config.automatic_tax:
        # Stripe works the tax out of the address that is typed, which it then keeps with the customer.
        session |= {
            "automatic_tax": {"enabled": True},
            "tax_id_collection": {"enabled": True},
            "customer_update": {"address": "auto", "name": "auto"},
        }
    return session


async def find_customer(context: StripeContext, account_id: AccountId) -> str | None:
    """Stripe's id of an account's customer, if it has one."""
    async with context.db.transaction() as tx:
        found: str | None = await tx.scalar(_CUSTOMER, {"account": account_id})
    return found


async def find_or_make_customer(context: StripeContext, account_id: AccountId, attempt: str) -> str:
    """An account's customer; where two are made at once, the first that is noted is it."""
    if (known := await find_customer(context, account_id)) is not None:
        return known
    account = wire(AccountId, account_id)
    made = await context.client.create_customer(account, f"customer:{account}:{attempt}")
    async with context.db.transaction() as tx:
        await tx.execute(_KEEP_CUSTOMER, {"account": account_id, "customer": made.id})
    found = await find_customer(context, account_id)
    assert found is not None, "it was noted a moment ago; this is a bug"
    return found


async def _end(context: StripeContext, topup: Topup, status: TopupStatus, problem: str, *, detail: str = "") -> None:
    async with context.db.transaction() as tx:
        await tx.execute(_END, {"id": topup.id, "status": status.value, "problem": problem})
        if detail:
            subject = f"topup:{topup.reference}"
            await open_review(tx, subject, Cause.REFUSED, detail, topup_id=topup.id, account_id=topup.account_id)
