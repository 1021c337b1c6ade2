"""Pure. Decides the tax of a supply from who sells, who pays and the day, with the reason that is printed.

For electronically supplied services between businesses, and to consumers. **An adviser must confirm it for each
seller.** Where a payment provider decides the tax, its decision goes before this one.
"""

from datetime import date
from enum import StrEnum

import msgspec

from billing.documents.parties import BillingProfile, Seller, TaxScheme
from billing.documents.tax_rates import EU, rate_at

REVERSE_CHARGE = "Reverse charge: the recipient owes the VAT (Article 196 of Directive 2006/112/EC)."
OUTSIDE = "Not subject to VAT: the place of supply is the customer's country, {country}."
NOT_REGISTERED = "No VAT: the seller is not registered for VAT."


class TaxCategory(StrEnum):
    """EN 16931's codes (UNTDID 5305) of the categories that occur here."""

    STANDARD = "S"
    REVERSE_CHARGE = "AE"
    OUTSIDE = "O"
    EXEMPT = "E"


# The codes of reasons (VATEX) that EN 16931 wants beside the words.
REASON_CODES = {TaxCategory.REVERSE_CHARGE: "VATEX-EU-AE", TaxCategory.OUTSIDE: "VATEX-EU-O"}


class TaxDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A category, its rate in hundredths of a percent, whose tax it is, and the reason that is printed.

    ``decided_by`` is empty where our table did.
    """

    category: TaxCategory
    rate: int
    jurisdiction: str
    reason: str
    decided_by: str = ""


class TaxUndecided(ValueError):
    """The tax cannot be decided; ``field`` is what is missing or unknown."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def decide_tax(seller: Seller, buyer: BillingProfile, on: date) -> TaxDecision:
    """The tax of a supply on a day. Raises :class:`TaxUndecided`."""
    home, country = seller.country, buyer.country
    if seller.tax_scheme is TaxScheme.NONE:
        return TaxDecision(TaxCategory.OUTSIDE, 0, home, NOT_REGISTERED)
    if seller.exempt_reason or buyer.exempt_reason:
        whose = home if seller.exempt_reason else country
        return TaxDecision(TaxCategory.EXEMPT, 0, whose, seller.exempt_reason or buyer.exempt_reason)
    if country == home:
        return _standard(home, on, "seller.address.country")
    if home in EU and country in EU:
        # A number of another Member State than the address is as good: what counts is that it is a taxable person's.
        if any(one.country in EU and one.country != home for one in buyer.tax_ids):
            return TaxDecision(TaxCategory.REVERSE_CHARGE, 0, country, REVERSE_CHARGE)
        taxed = country if seller.one_stop_shop else home
        return _standard(taxed, on, "buyer.address.country")
    return TaxDecision(TaxCategory.OUTSIDE, 0, country, OUTSIDE.format(country=country))


def _standard(country: str, on: date, field: str) -> TaxDecision:
    rate = rate_at(country, on)
    if rate is None:
        raise TaxUndecided(
            field, f"There is no rate of VAT of {country} on {on}: a line of the table of rates is missing."
        )
    return TaxDecision(TaxCategory.STANDARD, rate, country, f"VAT of {country}, {percent(rate)} %.")


def percent(rate: int) -> str:
    """Hundredths of a percent as text: 1900 -> "19", 2550 -> "25.5"."""
    whole, part = divmod(rate, 100)
    return f"{whole}.{part:02d}".rstrip("0").rstrip(".")
