"""Pure. What a document's page says, as text in the document's language: the template only places it."""

import re
from typing import Any

import msgspec

from billing.documents.document import Document, DocumentKind, Draft, Line
from billing.documents.parties import Address, Language, Seller
from billing.documents.tax import TaxCategory, percent
from billing.documents.words import (
    WORDS,
    femto_text,
    title_of,
    write_cents,
    write_day,
    write_decimal,
    write_nano,
)

# A word that is longer may break anywhere, else it would leave its column.
_LONG_WORD = re.compile(r"\S{24,}")
_BREAK = "\u200b"


def page_of(document: Document) -> dict[str, Any]:
    """The page: paper, blocks of lines, table, totals and notes."""
    draft, language = document.draft, document.draft.buyer.language
    is_statement = draft.kind is DocumentKind.STATEMENT
    rows = _movement_rows(draft) if is_statement else [_line_row(line, language) for line in draft.lines]
    return {
        "paper": draft.seller.paper,
        "lang": language,
        "title": title_of(draft.kind, language),
        "number": document.name,
        "day": [draft.issued_on.year, draft.issued_on.month, draft.issued_on.day],
        "seller": [breakable(line) for line in [draft.seller.legal_name, *address_lines(draft.seller.address)]],
        "seller_ids": [breakable(one) for one in _seller_ids(draft.seller)],
        "buyer": [breakable(line) for line in [draft.buyer.legal_name, *address_lines(draft.buyer.address)]],
        "facts": [[name, breakable(value)] for name, value in _facts(document)],
        "is_statement": is_statement,
        "rows": rows,
        "totals": _statement_totals(draft) if is_statement else _totals(draft),
        "notes": [breakable(note) for note in _notes(draft)],
        "footer": breakable(
            " · ".join(filter(None, [draft.seller.legal_name, draft.seller.email, draft.seller.footer]))
        ),
        "words": WORDS[language],
    }


def encode_page(document: Document) -> str:
    """The page as JSON for the template."""
    return msgspec.json.encode(page_of(document)).decode()


def breakable(text: str) -> str:
    """The text with places where long words may break."""
    return _LONG_WORD.sub(lambda word: _BREAK.join(word[0]), text)


def address_lines(address: Address) -> list[str]:
    """An address as it is printed; the country is its code, which every post reads."""
    city = " ".join(filter(None, [address.postcode, address.city, address.region]))
    return [line for line in (address.line1, address.line2, city, address.country) if line]


def _seller_ids(seller: Seller) -> list[str]:
    return [one for one in (seller.vat_id, seller.tax_number, seller.registration) if one]


def _facts(document: Document) -> list[tuple[str, str]]:
    draft, language = document.draft, document.draft.buyer.language
    words, tax_id = WORDS[language], draft.buyer.tax_id()
    days = dict.fromkeys(write_day(day, language) for day in (draft.since, draft.until))
    found = [
        (words["number"], document.name),
        (words["issued_on"], write_day(draft.issued_on, language)),
        (words["supplied"], " \u2013 ".join(days)),
        (words["due_on"], write_day(draft.due_on, language) if draft.due_on and draft.due_cents else ""),
        (words["credits" if draft.is_partial else "corrects"], draft.corrects.name if draft.corrects else ""),
        (words["reason"], draft.corrects.reason if draft.corrects else ""),
        (words["po_number"], draft.buyer.po_number),
        (words["tax_id"], tax_id.value if tax_id else ""),
        (words["account"], draft.account),
    ]
    return [(name, value) for name, value in found if value]


def _line_row(line: Line, language: Language) -> list[str]:
    """Item and its note, calls, tokens, price, amount."""
    words, usage = WORDS[language], line.usage
    if usage is None:
        return [breakable(line.description), "", "", "", "", write_cents(line.cents, language)]
    lane = f" ({words['lane_batch']})" if usage.lane == "batch" else ""
    note = f"{words['exactly']} {write_nano(line.amount_nano, language)}"
    if usage.rounded_up_femto:
        note += f" · {words['rounded_up']} {write_decimal(femto_text(usage.rounded_up_femto), language)}"
    if usage.waived_nano:
        note += f" · {words['waived']} {write_nano(-usage.waived_nano, language)}"
    return [
        breakable(line.description + lane),
        note,
        write_decimal(str(usage.calls), language),
        write_decimal(str(usage.tokens), language),
        write_nano(usage.nano_per_mtok, language),
        write_cents(line.cents, language),
    ]


def _movement_rows(draft: Draft) -> list[list[str]]:
    assert draft.statement is not None, "a statement has one; this is a bug"
    language = draft.buyer.language
    return [
        [
            breakable(one.description),
            one.kind,
            "" if one.on is None else write_day(one.on, language),
            write_nano(one.amount_nano, language),
        ]
        for one in draft.statement.movements
    ]


def _statement_totals(draft: Draft) -> list[list[str]]:
    assert draft.statement is not None, "a statement has one; this is a bug"
    language = draft.buyer.language
    balances = (("opening", draft.statement.opening_nano), ("closing", draft.statement.closing_nano))
    return [[WORDS[language][name], write_nano(nano, language)] for name, nano in balances]


def _totals(draft: Draft) -> list[list[str]]:
    language = draft.buyer.language
    words = WORDS[language]
    rows = []
    if draft.deductions:
        rows.append((words["sum"], sum(line.cents for line in draft.lines)))
        rows += [(breakable(one.reason), -one.cents) for one in draft.deductions]
    rows.append((words["net"], draft.net_cents))
    if draft.tax is not None:
        rate = f" {write_decimal(percent(draft.tax.rate), language)} %" if draft.tax.rate else ""
        rows.append((words["tax"] + rate, draft.tax_cents))
    rows.append((words["total"], draft.total_cents))
    rows += [(words["set_off"].format(number=one.name), -one.cents) for one in draft.set_off or ()]
    if draft.paid_cents and not draft.set_off:
        paid = words["paid_back" if draft.kind is DocumentKind.CREDIT_NOTE else "paid"]
        rows.append((f"{paid}{f' ({draft.paid_by})' if draft.paid_by else ''}", -draft.paid_cents))
    if draft.kind is not DocumentKind.CREDIT_NOTE:
        rows.append((words["due"], draft.due_cents))
    return [[name, write_cents(cents, language)] for name, cents in rows]


def _notes(draft: Draft) -> list[str]:
    language = draft.buyer.language
    words = WORDS[language]
    notes = []
    if draft.kind is DocumentKind.STATEMENT:
        return [words["balance_note"]]
    if draft.tax is not None and draft.tax.category is not TaxCategory.STANDARD:
        is_reverse = draft.tax.category is TaxCategory.REVERSE_CHARGE
        notes.append(words["reverse_charge"] if is_reverse else draft.tax.reason)
    if draft.in_favour_cents:
        notes.append(words["in_favour"].format(amount=write_cents(draft.in_favour_cents, language)))
    if (local := draft.local_tax) is not None:
        amount = f"{words['local_tax'].format(currency=local.currency)}: {write_cents(local.cents, language)}"
        rate, day = write_decimal(local.per_usd, language), write_day(local.on_day, language)
        notes.append(
            f"{amount} · {words['rate'].format(rate=rate, currency=local.currency, day=day, source=local.source)}"
        )
    if draft.seller.iban and draft.due_cents > 0 and draft.kind is DocumentKind.INVOICE:
        bank = " ".join(filter(None, [draft.seller.iban, draft.seller.bic]))
        notes.append(f"{words['pay_to']} {bank} {words['reference']}")
    if any(line.usage for line in draft.lines):
        notes.append(words["verify"])
    return notes
