"""Has Stripe decide the tax of an invoice before it has a number: no answer, and it waits; nothing is guessed."""

from datetime import UTC, datetime, time

from billing.documents.document import Draft
from billing.documents.faults import DocumentRefused, DocumentWaits
from billing.documents.tax import TaxDecision
from billing.stripe.client import StripeClient
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.stripe.tax_rules import calculation_of, decision_of


async def decide_tax_at_stripe(client: StripeClient, draft: Draft) -> tuple[TaxDecision, int]:
    """The tax of a draft and its cents. Raises :class:`DocumentWaits` and :class:`DocumentRefused`."""
    at = datetime.combine(draft.until, time(12), UTC)
    try:
        made = await client.calculate_tax(calculation_of(draft, int(at.timestamp())))
    except StripeUnavailable as fault:
        raise DocumentWaits(f"Stripe does not say what the tax is: {fault}") from fault
    except StripeRefused as refused:
        raise DocumentRefused("tax-is-decided", "buyer.address", f"Stripe cannot say the tax: {refused}") from refused
    return decision_of(draft, made), made.tax_amount_exclusive
