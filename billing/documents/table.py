"""Pure. Writes a document's lines as CSV, one row each, with the document's facts in every row."""

import csv
import io
import re
from collections.abc import Iterator

from billing.documents.document import Document, DocumentKind, Draft, Line
from billing.documents.words import cents_text, femto_text
from billing.money import to_usd

HEADER = (
    *(
        "document",
        "kind",
        "issued_on",
        "seller",
        "customer",
        "account",
        "line",
        "description",
        "model",
        "lane",
        "calls",
    ),
    *("tokens", "usd_per_mtok", "exact_usd", "rounded_up_usd", "waived_usd", "amount_usd", "tax_category", "tax_rate"),
    *("merkle_root", "currency"),
)
# With these a spreadsheet takes a cell for a formula, also after blanks.
_FORMULA = re.compile(r"\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def write_csv(document: Document) -> bytes:
    """The lines, then deductions as lines with negative amounts, as RFC 4180 has them; in UTF-8."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(HEADER)
    for row in _rows(document):
        writer.writerow([_harmless(cell) for cell in row])
    return sink.getvalue().encode()


def _rows(document: Document) -> Iterator[list[str]]:
    draft = document.draft
    facts = [document.name, draft.kind.value, draft.issued_on.isoformat(), draft.seller.legal_name]
    facts += [draft.buyer.legal_name, draft.account]
    if draft.kind is DocumentKind.STATEMENT:
        yield from _movements(draft, facts)
        return
    tax = [draft.tax.category.value, cents_text(draft.tax.rate)] if draft.tax else ["", ""]
    for number, line in enumerate(draft.lines, start=1):
        yield [*facts, str(number), *_line(line), *tax, line.usage.root if line.usage else "", "USD"]
    for number, one in enumerate(draft.deductions, start=len(draft.lines) + 1):
        amounts = [to_usd(-one.amount_nano), "", "", cents_text(-one.cents)]
        yield [*facts, str(number), one.reason, *[""] * 5, *amounts, *tax, "", "USD"]


def _line(line: Line) -> list[str]:
    usage = line.usage
    if usage is None:
        return [line.description, *[""] * 5, to_usd(line.amount_nano), "", "", cents_text(line.cents)]
    counts = [str(usage.calls), str(usage.tokens), to_usd(usage.nano_per_mtok)]
    rounding = [femto_text(usage.rounded_up_femto), to_usd(usage.waived_nano)]
    amounts = [to_usd(line.amount_nano), *rounding, cents_text(line.cents)]
    return [line.description, usage.model, usage.lane, *counts, *amounts]


def _movements(draft: Draft, facts: list[str]) -> Iterator[list[str]]:
    assert draft.statement is not None, "a statement has one; this is a bug"
    opening, closing = draft.statement.opening_nano, draft.statement.closing_nano
    moved = [(f"{one.kind}: {one.description}", one.amount_nano) for one in draft.statement.movements]
    for number, (what, nano) in enumerate([("opening balance", opening), *moved, ("closing balance", closing)]):
        yield [*facts, str(number), what, *[""] * 5, to_usd(nano), *[""] * 6, "USD"]


def _harmless(cell: str) -> str:
    """Text that would be a formula stands behind an apostrophe; an amount stays a number."""
    return f"'{cell}" if _FORMULA.match(cell) and not _AMOUNT.fullmatch(cell) else cell
