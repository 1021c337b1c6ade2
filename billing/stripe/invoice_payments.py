"""Finds what an invoice of Stripe's, or a payment of one, is of: a recharge, or an invoice of drawn credit."""

from billing.stripe.collection_steps import act_on_collected_invoice
from billing.stripe.context import StripeContext
from billing.stripe.recharge_steps import act_on_recharge_invoice


async def act_on_invoice(context: StripeContext, invoice_id: str) -> bool:
    """Have what an invoice is of worked on; False where it is none of ours."""
    return await act_on_recharge_invoice(context, invoice_id) or await act_on_collected_invoice(context, invoice_id)


async def act_on_invoice_payment(context: StripeContext, intent_id: str) -> bool:
    """The same for a payment; False where it pays no invoice of ours."""
    async for paid in context.client.invoices_of_payment(intent_id):
        if await act_on_invoice(context, paid.invoice):
            return True
    return False
