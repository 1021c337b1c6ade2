"""Files of documents: pages look right in every script and length, XML passes EN 16931's rules, wrong ones do not."""

import asyncio
import csv
import io
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec
import pytest
from lxml import etree
from PIL import Image
from pypdf import PdfReader

from billing.documents.credit_notes import Credited, credit_note_of, partial_note_of
from billing.documents.document import (
    Document,
    DocumentKind,
    Draft,
    Movement,
    Statement,
    local_tax,
    with_totals,
)
from billing.documents.einvoice import write_cii, write_ubl
from billing.documents.faults import DocumentRefused
from billing.documents.parties import Address, TaxScheme
from billing.documents.pdf import PdfRenderer
from billing.documents.render import Renderer
from billing.documents.schematron import SchematronChecker
from billing.documents.words import cents_text
from tests.builders.documents import a_buyer, a_document, a_seller, a_usage_line, an_invoice_draft

GIVEN = "Given credit"
MINUS = "\u2212"
PIXELS_PER_INCH = 50


def a_statement() -> Draft:
    movements = (
        Movement("grant", "stripe:pi_1", 25 * 10**9, date(2026, 10, 3)),
        Movement("usage", "Embeddings with a model", -40 * 10**9 - 1),
    )
    statement = Statement(10**9, movements, -14 * 10**9 - 1)
    return msgspec.structs.replace(an_invoice_draft(kind=DocumentKind.STATEMENT), statement=statement)


def a_topup() -> Draft:
    draft = with_totals(an_invoice_draft(kind=DocumentKind.TOPUP), [("Prepaid credit", 25 * 10**9, None)], [])
    return msgspec.structs.replace(draft, paid_cents=draft.total_cents, paid_by="Card ending in 4242", due_on=None)


def many_lines() -> Draft:
    return an_invoice_draft(
        [
            a_usage_line(
                f"org/model-{n:03}", tokens=1_000_000 * n, rounded_up_femto=0, lane="batch" if n % 7 else "interactive"
            )
            for n in range(1, 251)
        ]
    )


# What is written on the pages, and on how many.
PAGES: dict[str, tuple[Draft, int, tuple[str, ...]]] = {
    "plain": (an_invoice_draft(), 1, ("Invoice", "ACME-INV-2026-000042", "987,654,321", "7.90", "VAT 19 %", "9.40")),
    "german": (
        an_invoice_draft(buyer=a_buyer("FR", "FR40303265045", language="de")),
        1,
        ("Rechnung", "987.654.321", "7,90", "Steuerschuldnerschaft", "02.11.2026"),
    ),
    "letter": (an_invoice_draft(seller=a_seller(paper="us-letter")), 1, ("Invoice",)),
    "250 lines": (many_lines(), 10, ("org/model-001", "org/model-250", "Page 10 of 10")),
    "long names": (
        an_invoice_draft(
            [a_usage_line("x" * 250)],
            seller=a_seller(legal_name="Gesellschaft " * 20),
            buyer=a_buyer(legal_name="W" * 300, po_number="P" * 200),
        ),
        1,
        ("9.40",),
    ),
    "arabic and hebrew": (
        an_invoice_draft(
            buyer=a_buyer(legal_name="شركة المثال المحدودة", address=Address("רחוב הרצל 1", "תל אביב", "IL"))
        ),
        1,
        ("Not subject to VAT",),
    ),
    "chinese, japanese, korean": (
        an_invoice_draft(buyer=a_buyer("JP", legal_name="株式会社测试有限公司주식회사" * 13)),
        1,
        ("株式会社",),
    ),
    "greek and cyrillic": (an_invoice_draft(buyer=a_buyer(legal_name="Ωμέγα «Пример»")), 1, ("Ωμέγα", "Пример")),
    "nothing to pay": (an_invoice_draft(taken_off=[(GIVEN, 7_901_235_000)]), 1, (f"{MINUS}7.90", "0.00")),
    "negative": (
        an_invoice_draft(taken_off=[(GIVEN, 9_000_000_000)]),
        1,
        (f"{MINUS}1.10", f"{MINUS}0.21", f"{MINUS}1.31"),
    ),
    "credit note": (
        credit_note_of(a_document(), date(2026, 11, 3), "Wrong address"),
        1,
        ("Credit note", "ACME-CN-2026-000042", "ACME-INV-2026-000042", "Wrong address"),
    ),
    "credit note of a part": (
        partial_note_of(a_document(), [], Credited(100, "Slow", line=1), date(2026, 11, 3)),
        1,
        ("Takes back a part of", "ACME-INV-2026-000042", "Credit: Embeddings with", "1.00", "0.19", "1.19"),
    ),
    "refund": (
        partial_note_of(
            a_document(a_topup()), [], Credited(1000, "r", tax_cents=191, paid_by="Stripe"), date(2026, 11, 3)
        ),
        1,
        ("Refund of prepaid credit", "Paid back (Stripe)", f"{MINUS}11.91"),
    ),
    "top-up": (a_topup(), 1, ("Prepaid credit", "Card ending in 4242", "29.75", f"{MINUS}29.75")),
    "statement": (a_statement(), 1, ("Statement", f"{MINUS}40.000000001", f"{MINUS}14.000000001", "no invoice")),
}


@pytest.fixture(scope="module")
def pdf() -> PdfRenderer:
    return PdfRenderer()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_its_words_and_nothing_leaves_its_margins(pdf: PdfRenderer, name: str) -> None:
    draft, pages, words = PAGES[name]
    document = a_document(draft)
    made = pdf.render(document)
    assert made == pdf.render(document)
    text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(made)).pages).replace("\u200b", "")
    assert [word for word in words if word not in text] == []
    pictures = [Image.open(io.BytesIO(one)).convert("L") for one in pdf.pictures(document, PIXELS_PER_INCH)]
    assert len(pictures) == pages
    margin = PIXELS_PER_INCH * 18 // 25
    for picture in pictures:
        width, height = picture.size
        assert abs(width / height - (8.5 / 11 if draft.seller.paper == "us-letter" else 210 / 297)) < 0.01
        for strip in ((0, 0, margin, height), (width - margin, 0, width, height), (0, 0, width, margin)):
            assert picture.crop(strip).getextrema() == (255, 255), f"{name}: ink in the margin"
        assert sum(picture.histogram()[:128]) > 0


def test_two_renderers_make_the_same_bytes(pdf: PdfRenderer) -> None:
    assert PdfRenderer().render(a_document()) == pdf.render(a_document())


INVOICES: dict[str, Draft] = {
    "standard": msgspec.structs.replace(
        an_invoice_draft(), local_tax=local_tax(an_invoice_draft(), 91, 100, date(2026, 10, 30), "ECB")
    ),
    "reverse charge": an_invoice_draft(buyer=a_buyer("GR", "EL094259216")),
    "outside": an_invoice_draft(buyer=a_buyer("US", "911144442")),
    "exempt": an_invoice_draft(seller=a_seller(exempt_reason="Small business, § 19 UStG")),
    "not registered": an_invoice_draft(
        seller=a_seller(
            tax_scheme=TaxScheme.NONE, vat_id="", iban="", address=Address("1 Main St", "Austin", "US", region="TX")
        )
    ),
    **{
        name: PAGES[name][0]
        for name in (
            "250 lines",
            "long names",
            "nothing to pay",
            "negative",
            "credit note",
            "credit note of a part",
            "refund",
            "top-up",
        )
    },
}


@pytest.mark.parametrize("name", INVOICES)
def test_every_kind_of_invoice_passes_en_16931(renderer: Renderer, name: str) -> None:
    document = a_document(INVOICES[name])
    files = {one.format: one.content for one in asyncio.run(renderer.render(document))}
    ubl = etree.fromstring(files["ubl"])
    assert (etree.QName(ubl).localname == "CreditNote") is (document.draft.kind is DocumentKind.CREDIT_NOTE)
    payable = ubl.findtext(".//{*}LegalMonetaryTotal/{*}PayableAmount")
    assert payable == cents_text(document.draft.due_cents)
    embedded = PdfReader(io.BytesIO(files["facturx"])).attachments["factur-x.xml"][0]
    assert etree.fromstring(embedded).findtext(".//{*}DuePayableAmount") == payable
    rows = list(csv.DictReader(io.StringIO(files["csv"].decode())))
    assert sum(int(row["amount_usd"].replace(".", "")) for row in rows) == document.draft.net_cents


def changed(draft: Draft, **fields: Any) -> Document:
    return a_document(msgspec.structs.replace(draft, **fields))


@pytest.mark.parametrize(
    ("document", "rule", "field"),
    [
        (changed(an_invoice_draft(), tax_cents=151), "adds-up", "totals"),
        (changed(an_invoice_draft(), net_cents=791), "adds-up", "totals"),
        (changed(an_invoice_draft(), lines=(), net_cents=0), "has-lines", "lines"),
        (a_document(an_invoice_draft(buyer=a_buyer("ZQ"))), "BR-CL-14", "AccountingCustomerParty"),
        (a_document(an_invoice_draft(seller=a_seller(vat_id="136695976"))), "BR-CO-09", "AccountingSupplierParty"),
        (
            a_document(an_invoice_draft(seller=a_seller(vat_id="", tax_number="", registration=""))),
            "BR-S-02",
            "Invoice",
        ),
        (a_document(an_invoice_draft(buyer=a_buyer(legal_name="ᚠᚢᚦ"))), "pdf-fonts", "text"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_is_wrong_is_refused_with_rule_and_field(
    renderer: Renderer, document: Document, rule: str, field: str
) -> None:
    with pytest.raises(DocumentRefused) as refused:
        asyncio.run(renderer.render(document))
    assert (refused.value.rule, field in refused.value.field) == (rule, True), str(refused.value)


def test_a_cell_that_begins_like_a_formula_is_harmless(renderer: Renderer) -> None:
    document = a_document(an_invoice_draft(buyer=a_buyer(legal_name='=HYPERLINK("http://x")')))
    files = {one.format: one.content for one in asyncio.run(renderer.render(document))}
    [row] = csv.DictReader(io.StringIO(files["csv"].decode()))
    assert row["customer"] == '\'=HYPERLINK("http://x")'


def test_schematron_finds_what_we_do_not_check_ourselves(renderer: Renderer) -> None:
    """With our own sums left out, EN 16931's rules name a total that is wrong, in both syntaxes."""
    document = changed(an_invoice_draft(), tax_cents=950)

    def check(flavor: str, write: Callable[[Document], bytes]) -> str:
        with pytest.raises(DocumentRefused) as refused:
            checker.check(flavor, write(document))
        return refused.value.rule

    checker = SchematronChecker()
    assert check("ubl-2.1", write_ubl) == "BR-CO-17"
    assert check("factur-x", write_cii)


def test_a_renderer_whose_process_was_killed_starts_another_and_leaves_none() -> None:
    renderer = Renderer()
    processes = []
    try:
        document = a_document(a_statement())
        files = [renderer.render_now(document)]
        for _ in range(2):
            assert renderer._process is not None
            processes.append(renderer._process)
            renderer._process.kill()
            files.append(renderer.render_now(document))
        assert files == files[:1] * 3
    finally:
        renderer.close()
    assert all(process.poll() is not None for process in processes)
