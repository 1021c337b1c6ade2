"""Pure. Reads Stripe's calculation of a document's tax as our decision: category, rate, jurisdiction, printed reason.

**An adviser must confirm it**: what is registered at Stripe decides what is taxed, and these are the words for it.
"""

from decimal import ROUND_HALF_EVEN, Decimal

from billing.documents.document import Draft
from billing.documents.faults import DocumentRefused
from billing.documents.parties import TaxId
from billing.documents.tax import OUTSIDE, REVERSE_CHARGE, TaxCategory, TaxDecision, percent
from billing.documents.tax_rates import EU
from billing.stripe.values import CURRENCY, TaxBreakdown, TaxCalculation, jurisdiction_of

DECIDED_BY = "Stripe Tax"
NOT_COLLECTED = "No tax is collected: the seller is not registered in {country}."
EXEMPT = "Exempt from tax in {country}."
ZERO = "Taxed at 0 % in {country}."
_CATEGORIES = {
    "reverse_charge": (TaxCategory.REVERSE_CHARGE, REVERSE_CHARGE),
    "customer_exempt": (TaxCategory.EXEMPT, EXEMPT),
    "product_exempt": (TaxCategory.EXEMPT, EXEMPT),
    "product_exempt_holiday": (TaxCategory.EXEMPT, EXEMPT),
    "portion_product_exempt": (TaxCategory.EXEMPT, EXEMPT),
    "zero_rated": (TaxCategory.EXEMPT, ZERO),
    "not_collecting": (TaxCategory.OUTSIDE, NOT_COLLECTED),
    "not_supported": (TaxCategory.OUTSIDE, NOT_COLLECTED),
    "not_subject_to_tax": (TaxCategory.OUTSIDE, OUTSIDE),
}
# Stripe's names of tax ids, by the country that we keep them with; those of others are not told.
_TAX_IDS = {"AU": "au_abn", "CA": "ca_bn", "CH": "ch_vat", "GB": "gb_vat", "IN": "in_gst", "NO": "no_vat"}
_TAX_IDS |= {"NZ": "nz_gst", "US": "us_ein"}


def calculation_of(draft: Draft, tax_date: int) -> dict[str, object]:
    """What Stripe works the tax of a draft out from: its net amount, and who pays."""
    buyer = draft.buyer
    address = buyer.address
    where = {"line1": address.line1, "line2": address.line2, "city": address.city, "postal_code": address.postcode}
    ids = [{"type": kind, "value": one.value} for one in buyer.tax_ids if (kind := tax_id_kind(one)) is not None]
    who: dict[str, object] = {
        "address": {**where, "state": address.region, "country": address.country},
        "address_source": "billing",
        "taxability_override": "customer_exempt" if buyer.exempt_reason else "none",
    }
    if ids:
        who["tax_ids"] = ids
    return {
        "currency": CURRENCY,
        "customer_details": who,
        "line_items": [{"amount": draft.net_cents, "reference": "usage", "tax_behavior": "exclusive"}],
        "tax_date": tax_date,
    }


def tax_id_kind(tax_id: TaxId) -> str | None:
    """Stripe's kind of a tax id."""
    return "eu_vat" if tax_id.country in EU else _TAX_IDS.get(tax_id.country)


def decision_of(draft: Draft, made: TaxCalculation) -> TaxDecision:
    """The decision. Raises :class:`DocumentRefused` for a calculation that is of something else."""
    is_ours = made.currency == CURRENCY and made.tax_amount_inclusive == 0
    if not is_ours or made.amount_total != draft.net_cents + made.tax_amount_exclusive:
        message = f"Stripe's total is {made.amount_total} cents {made.currency}, ours {draft.net_cents} and its tax"
        raise DocumentRefused("total-is-stripes", "tax_cents", message)
    taxed = [one for one in made.tax_breakdown if one.amount]
    country = draft.buyer.country
    if taxed:
        rate = int(sum((_percentage(one) for one in taxed), Decimal(0)).scaleb(2).to_integral_value(ROUND_HALF_EVEN))
        where = jurisdiction_of(taxed[0].tax_rate_details) or country
        kind = (taxed[0].tax_rate_details.tax_type or "tax").replace("_", " ")
        name = kind.upper() if kind in ("vat", "gst", "hst", "pst", "qst") else kind.capitalize()
        return TaxDecision(TaxCategory.STANDARD, rate, where, f"{name} of {where}, {percent(rate)} %.", DECIDED_BY)
    reason = made.tax_breakdown[0].taxability_reason if made.tax_breakdown else "not_subject_to_tax"
    if reason not in _CATEGORIES:
        raise DocumentRefused("tax-is-decided", "tax", f"Stripe takes no tax and says {reason}")
    category, words = _CATEGORIES[reason]
    if category is TaxCategory.EXEMPT and draft.buyer.exempt_reason:
        words = draft.buyer.exempt_reason.replace("{", "{{").replace("}", "}}")
    return TaxDecision(category, 0, country, words.format(country=country), DECIDED_BY)


def _percentage(one: TaxBreakdown) -> Decimal:
    return Decimal(one.tax_rate_details.percentage_decimal)
