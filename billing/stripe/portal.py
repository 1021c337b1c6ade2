"""Makes links to Stripe's billing portal, where customers keep their cards, tax ids and Stripe's own papers."""

from sqlalchemy import text

from billing.stripe.checkout import find_or_make_customer
from billing.stripe.context import StripeContext
from billing.stripe.errors import StripeFailed, StripeRefused
from billing.stripe.portal_links import PortalLink, find_link
from billing.stripe.reviews import Cause, open_review
from billing.stripe.values import PortalSession
from store.ids import PortalLinkId, parse

_MADE = text("UPDATE portal_links SET status = 'made', url = :url WHERE id = :id AND status = 'new'")
_FAILED = text("UPDATE portal_links SET status = 'failed' WHERE id = :id AND status = 'new'")
_NEXT_ATTEMPT = text("UPDATE portal_links SET attempt = attempt + 1 WHERE id = :id")


async def make_link(context: StripeContext, reference: str) -> None:
    """Make a link, once. Raises :class:`billing.stripe.errors.StripeUnavailable`."""
    link_id = PortalLinkId(parse(PortalLinkId, reference))
    async with context.db.transaction() as tx:
        link = await find_link(tx, link_id)
    if link is None or link.status != "new":
        return
    try:
        made = await _make(context, link, reference)
    except StripeFailed:
        async with context.db.transaction() as tx:
            await tx.execute(_NEXT_ATTEMPT, {"id": link_id})
        raise
    except StripeRefused as refused:
        async with context.db.transaction() as tx:
            await tx.execute(_FAILED, {"id": link_id})
            await open_review(tx, f"portal:{reference}", Cause.REFUSED, str(refused), account_id=link.account_id)
        return
    async with context.db.transaction() as tx:
        await tx.execute(_MADE, {"id": link_id, "url": made.url})


async def _make(context: StripeContext, link: PortalLink, reference: str) -> PortalSession:
    key = f"{reference}:{link.attempt}"
    customer = await find_or_make_customer(context, link.account_id, key)
    made = await context.client.create_portal_session(customer, context.config.return_url, f"portal:{key}")
    if made.customer not in (None, customer):
        raise StripeRefused("Stripe answered with a link of another customer's.")
    return made
