"""Forms of who pays and who sells: what customers and operators write, and what both read."""

import re
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from billing.documents.parties import Address, BillingProfile, Language, Paper, Seller, TaxScheme
from billing.documents.profiles import StoredProfile, StoredSeller
from router.admin.parties import read_tax_ids
from router.api.fields import AccountIdText, EmailAddress, Instant, TextValue
from router.api.forms import Body, Form, Resource, answer_of, struct_of
from store.ids import AccountId

TAX_IDS_MAX, EMAILS_MAX, TERMS_DAYS_MAX = 10, 20, 365
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")


def _matching(pattern: str, expected: str) -> TextValue:
    def read(text: str) -> str:
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise ValueError(text)
        return text

    return TextValue(read, str, expected, pattern=f"^{pattern}$")


def _line(most: int, *, least: int = 0) -> TextValue:
    """Text of one line, that says something where ``least`` is 1."""

    def read(text: str) -> str:
        if not least <= len(text.strip()) <= most or _CONTROL.search(text):
            raise ValueError(text)
        return text.strip()

    return TextValue(read, str, f"one line of {least} to {most} characters", minLength=least, maxLength=most)


Country: TypeAlias = Annotated[str, _matching("[A-Z]{2}", "a country's two capital letters, such as DE")]
Currency: TypeAlias = Annotated[str, _matching("[A-Z]{3}", "a currency's three capital letters, such as EUR")]
SellerId: TypeAlias = Annotated[str, _matching("[a-z0-9][a-z0-9-]{0,62}", "1 to 63 lower-case letters, digits, dashes")]
Prefix: TypeAlias = Annotated[str, _matching("[A-Z0-9]{1,12}", "1 to 12 capital letters and digits")]
Said: TypeAlias = Annotated[str, _line(300, least=1)]
Line: TypeAlias = Annotated[str, _line(300)]


class AddressFacts(Form):
    """A postal address."""

    line1: Said = Field(description="Street and number.")
    line2: Line = Field("", description="What else the post needs.")
    postcode: Line = Field("", description="The postal code.")
    city: Said = Field(description="Town or city.")
    region: Line = Field("", description="State, province or county, where addresses have one.")
    country: Country = Field(description="ISO 3166-1's two letters.")


class ProfileFacts(Form):
    """What a customer says of who pays."""

    legal_name: Said = Field(description="The name of the person or company that owes, in any script.")
    address: AddressFacts = Field(description="Where they are; its country decides the tax.")
    tax_ids: tuple[str, ...] = Field(
        (),
        max_length=TAX_IDS_MAX,
        description="Tax ids, such as DE136695976; without an EU country's letters they are the address's country's. "
        "Form and check digits are looked at.",
    )
    emails: tuple[EmailAddress, ...] = Field((), max_length=EMAILS_MAX, description="Where documents are sent.")
    po_number: Line = Field("", description="Your order, which every document names.")
    language: Language = Field("en", description="The language of documents.")


class ProfileSet(ProfileFacts, Body):
    """A customer's whole billing profile, which becomes its newest version."""


class OperatorProfileFacts(ProfileFacts):
    """What an operator says of who pays."""

    terms_days: int = Field(14, ge=0, le=TERMS_DAYS_MAX, description="In how many days an invoice is due.")
    exempt_reason: Line = Field("", description="Why no tax is due, such as a certificate; printed. Empty: it is.")


class OperatorProfileSet(OperatorProfileFacts, Body):
    """The whole billing profile of an account, which becomes its newest version."""


class ProfileOut(OperatorProfileFacts, Resource):
    """Who pays for an account, as documents name them."""

    account: AccountIdText
    version: int
    created_at: Instant
    object: Literal["billing_profile"] = "billing_profile"


class SellerFacts(Form):
    """A legal entity that sells."""

    prefix: Prefix = Field(description="How its documents' numbers begin; it stays.")
    legal_name: Said = Field(description="Its registered name.")
    address: AddressFacts = Field(description="Where it is established.")
    tax_scheme: TaxScheme = Field(TaxScheme.VAT, description="vat: it is registered for VAT; none: it is not.")
    vat_id: Line = Field("", description="Its VAT id.")
    tax_number: Line = Field("", description="Its local tax number, which documents outside of VAT name.")
    registration: Line = Field("", description="Its number in the register of companies.")
    email: Line = Field("", description="Where customers write.")
    iban: Line = Field("", description="The bank account that invoices are paid to.")
    bic: Line = Field("", description="That account's bank.")
    currency: Currency = Field("EUR", description="The currency of its books; VAT is told in it, too.")
    paper: Paper = Field("a4", description="a4 or us-letter.")
    one_stop_shop: bool = Field(False, description="It declares consumers' VAT at their own countries' rates (OSS).")
    exempt_reason: Line = Field("", description="Why it charges no tax, such as a small business; printed.")
    footer: Line = Field("", description="What the law wants at the foot of a page.")


class SellerSet(SellerFacts, Body):
    """A seller, or the newest version of one."""

    id: SellerId = Field(description="A short name of its own.")


class SellerOut(SellerFacts, Resource):
    """A legal entity that sells."""

    columns: ClassVar[tuple[str, ...]] = ("id", "prefix", "legal_name", "tax_scheme", "currency", "version")

    id: str
    version: int
    created_at: Instant
    object: Literal["seller"] = "seller"


def profile_of(form: ProfileFacts, before: BillingProfile | None = None) -> BillingProfile:
    """The profile that a form says; what only operators set stays as it was. Raises ``InvalidRequest``."""
    address = struct_of(Address, form.address)
    kept = {} if before is None else {"terms_days": before.terms_days, "exempt_reason": before.exempt_reason}
    own = {} if isinstance(form, OperatorProfileFacts) else kept
    tax_ids = read_tax_ids(form.tax_ids, address.country)
    return struct_of(BillingProfile, form, address=address, tax_ids=tax_ids, **own)


def profile_out(account_id: AccountId, stored: StoredProfile) -> ProfileOut:
    """A version of a profile as it is answered."""
    return answer_of(
        ProfileOut,
        stored.profile,
        account=account_id,
        version=stored.version,
        created_at=stored.created_at,
        address=answer_of(AddressFacts, stored.profile.address),
        tax_ids=tuple(one.value for one in stored.profile.tax_ids),
    )


def seller_of(form: SellerSet) -> Seller:
    """The seller that a form says."""
    return struct_of(Seller, form, address=struct_of(Address, form.address))


def seller_out(stored: StoredSeller) -> SellerOut:
    """A version of a seller as it is answered."""
    return answer_of(
        SellerOut,
        stored.seller,
        version=stored.version,
        created_at=stored.created_at,
        address=answer_of(AddressFacts, stored.seller.address),
    )
