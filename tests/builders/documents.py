"""Builds parties and documents as values, with defaults that every check passes."""

from datetime import date
from typing import Any

import msgspec

from billing.documents.document import Document, DocumentKind, Draft, LineUsage, due_on, with_totals
from billing.documents.parties import Address, BillingProfile, Seller, TaxId
from billing.documents.tax import decide_tax

MONTH = date(2026, 10, 1)


def a_seller(**fields: Any) -> Seller:
    usual: dict[str, Any] = {
        "id": "acme",
        "prefix": "ACME",
        "legal_name": "Acme Vectors GmbH",
        "address": Address("Torstraße 1", "Berlin", "DE", postcode="10119"),
        "vat_id": "DE136695976",
        "tax_number": "30/123/45678",
        "registration": "HRB 12345 B",
        "email": "billing@acme.example",
        "iban": "DE89370400440532013000",
        "bic": "COBADEFFXXX",
        "footer": "Managing director: Ann Example",
    }
    return Seller(**{**usual, **fields})


def a_buyer(country: str = "DE", vat_id: str = "", **fields: Any) -> BillingProfile:
    usual: dict[str, Any] = {
        "legal_name": "Customer AG",
        "address": Address("Main Street 1", "Town", country, postcode="12345"),
        "tax_ids": (TaxId(country, vat_id),) if vat_id else (),
        "emails": ("ap@customer.example",),
        "po_number": "PO-77",
    }
    return BillingProfile(**{**usual, **fields})


def a_usage_line(model: str = "intfloat/multilingual-e5-large", **fields: Any) -> LineUsage:
    usual: dict[str, Any] = {
        "model": model,
        "lane": "interactive",
        "nano_per_mtok": 8_000_000,
        "calls": 1_234,
        "tokens": 987_654_321,
        "rounded_up_femto": 432_000_000,
        "waived_nano": 0,
        "root": "00" * 32,
    }
    return LineUsage(**{**usual, **fields})


def amount_of(usage: LineUsage) -> int:
    """Its amount in nano-dollars."""
    return (usage.tokens * usage.nano_per_mtok + usage.rounded_up_femto) // 1_000_000 - usage.waived_nano


def an_invoice_draft(
    usages: list[LineUsage] | None = None,
    taken_off: list[tuple[str, int]] | None = None,
    *,
    seller: Seller | None = None,
    buyer: BillingProfile | None = None,
    kind: DocumentKind = DocumentKind.INVOICE,
    **fields: Any,
) -> Draft:
    seller, buyer = seller or a_seller(), buyer or a_buyer()
    issued_on = date(2026, 11, 2)
    draft = Draft(
        kind=kind,
        account="acct_0199c0ffee00700080000000000000aa",
        seller=seller,
        buyer=buyer,
        issued_on=issued_on,
        since=MONTH,
        until=date(2026, 10, 31),
        lines=(),
        due_on=due_on(buyer, issued_on),
        tax=decide_tax(seller, buyer, issued_on),
    )
    measured = [a_usage_line()] if usages is None else usages
    amounts = [(f"Embeddings with {one.model}", amount_of(one), one) for one in measured]
    return msgspec.structs.replace(with_totals(draft, [*amounts], taken_off or []), **fields)


def a_document(draft: Draft | None = None, number: int = 42) -> Document:
    return Document(number=number, draft=draft or an_invoice_draft())
