"""Pure. Who pays and who sells, as documents name them, and the form of their tax ids.

A tax id's form and check digits are looked at here; whether an authority knows it is for the payment provider to say.
"""

import re
from enum import StrEnum
from typing import Literal

import msgspec
from stdnum import get_cc_module
from stdnum.eu import vat as eu_vat
from stdnum.exceptions import ValidationError

from billing.documents.tax_rates import EU

# Countries whose number for sales tax has another name than "vat" in python-stdnum.
_OTHER_FORMS = {"AU": "abn", "CA": "bn", "IN": "gstin", "NZ": "ird", "US": "ein"}
_ANY_FORM = re.compile("[A-Z0-9][A-Z0-9./ -]{2,28}[A-Z0-9]")
_COUNTRY = re.compile("[A-Z]{2}")

Language = Literal["en", "de"]
Paper = Literal["a4", "us-letter"]


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A postal address; ``country`` is ISO 3166-1's two letters."""

    line1: str
    city: str
    country: str
    line2: str = ""
    postcode: str = ""
    region: str = ""

    def __post_init__(self) -> None:
        if not _COUNTRY.fullmatch(self.country):
            raise ValueError("a country is two capital letters, such as DE")


class TaxId(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tax id that has the form of its country's. Made by :func:`tax_id_of`."""

    country: str
    value: str


class BillingProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who pays. ``terms_days``: an invoice is due so long after its day.

    ``exempt_reason``: why no tax is due, where an operator says so.
    """

    legal_name: str
    address: Address
    tax_ids: tuple[TaxId, ...] = ()
    emails: tuple[str, ...] = ()
    po_number: str = ""
    terms_days: int = 14
    language: Language = "en"
    exempt_reason: str = ""

    @property
    def country(self) -> str:
        """Where the customer belongs."""
        return self.address.country

    def tax_id(self) -> TaxId | None:
        """The tax id of the customer's own country, else the first."""
        own = [one for one in self.tax_ids if one.country == self.country]
        return next(iter([*own, *self.tax_ids]), None)


class TaxScheme(StrEnum):
    """What a seller is registered for."""

    VAT = "vat"
    NONE = "none"


class Seller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A legal entity that sells. ``currency`` is that of its books; documents are in USD and tell VAT in both.

    ``one_stop_shop``: it declares consumers' VAT of other EU countries at their own rates. ``exempt_reason``: why it
    charges no tax, where it is registered and exempt, such as a small business. ``prefix`` begins documents' numbers.
    """

    id: str
    prefix: str
    legal_name: str
    address: Address
    tax_scheme: TaxScheme = TaxScheme.VAT
    vat_id: str = ""
    tax_number: str = ""
    registration: str = ""
    email: str = ""
    iban: str = ""
    bic: str = ""
    currency: str = "EUR"
    paper: Paper = "a4"
    one_stop_shop: bool = False
    exempt_reason: str = ""
    footer: str = ""

    @property
    def country(self) -> str:
        """Where the seller is established."""
        return self.address.country


class TaxIdInvalid(ValueError):
    """A tax id has not the form that its country's have; the text says so."""


def tax_id_of(country: str, text: str) -> TaxId:
    """Read a tax id, without blanks and dots that its country's may have. Raises :class:`TaxIdInvalid`."""
    try:
        if country in EU:
            return TaxId(country, _eu_vat_id(country, text))
        form = get_cc_module(country, "vat") or get_cc_module(country, _OTHER_FORMS.get(country, "vat"))
        if form is not None:
            return TaxId(country, str(form.validate(text)))
    except ValidationError as wrong:
        raise TaxIdInvalid(f"{text!r} has not the form of a tax id of {country}: {str(wrong).rstrip('.')}.") from None
    upper = text.strip().upper()
    if not _ANY_FORM.fullmatch(upper):
        raise TaxIdInvalid(f"{text!r} is no tax id: 4 to 30 letters, digits, dots, dashes and slashes.")
    return TaxId(country, upper)


def _eu_vat_id(country: str, text: str) -> str:
    """With the prefix of its country, which is EL for Greece; taken without it, too."""
    prefix = "EL" if country == "GR" else country
    compact = re.sub(r"[\s.-]", "", text).upper()
    number = str(eu_vat.validate(compact if compact.startswith(prefix) else prefix + compact))
    return number if number.startswith(prefix) else prefix + number
