"""Pure. The words of a page by language, and how amounts, numbers and days are written in it."""

from datetime import date

from billing.documents.document import DocumentKind
from billing.documents.parties import Language
from billing.money import to_usd

WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "usage_of": "Embeddings with {model}",
        "discounted": "{usage}, {percent} % off the list price of {listed} USD per 1M tokens (contract)",
        "negotiated": "{usage}, at the contract's price",
        "minimum": "Minimum commitment: {minimum} USD a month, used {used} USD",
        "commitment": "Paid from the contract's prepaid commitment",
        "bought": "Prepaid credit",
        "given": "Given credit",
        "prepaid": "Paid from credit that was invoiced when it was bought",
        "owed": "Owed beyond the credit; the next top-up pays it",
        "reverse_charge": "Reverse charge: the recipient owes the VAT (Article 196 of Directive 2006/112/EC).",
        "invoice": "Invoice",
        "topup": "Invoice",
        "credit_note": "Credit note",
        "statement": "Statement",
        "number": "Number",
        "issued_on": "Date",
        "supplied": "Supplied",
        "due_on": "Due on",
        "po_number": "Your order",
        "account": "Account",
        "tax_id": "Tax id",
        "corrects": "Takes back",
        "credits": "Takes back a part of",
        "credited": "Credit: {what}",
        "refunded": "Refund of prepaid credit",
        "paid_back": "Paid back",
        "reason": "Reason",
        "bill_to": "Bill to",
        "item": "Item",
        "calls": "Calls",
        "tokens": "Tokens",
        "price": "USD per 1M tokens",
        "amount": "Amount (USD)",
        "exactly": "exactly",
        "rounded_up": "each call rounded up",
        "waived": "above what was held, waived",
        "lane_batch": "batch lane",
        "net": "Net",
        "sum": "Sum",
        "tax": "VAT",
        "total": "Total",
        "paid": "Paid",
        "due": "To be paid",
        "local_tax": "VAT in {currency}",
        "rate": "1 USD = {rate} {currency} on {day} ({source})",
        "opening": "Opening balance",
        "closing": "Closing balance",
        "balance_note": "This is a statement of the balance and no invoice. Amounts are exact, to a billionth of a "
        "dollar.",
        "pay_to": "Please pay to",
        "reference": "with the number of this document.",
        "verify": "Each line's calls are the leaves of a Merkle tree (RFC 6962), whose root is in the JSON of this "
        "document.",
        "of_month": "{month}: {what}",
        "credited_rest": "Credit: the rest of {what}",
        "set_off": "Set off: what was paid of {number}",
        "in_favour": "USD {amount} of it were paid: they are yours, and are set off against your next invoice.",
        "more_lines": "{count} more lines, each of which is on our invoice",
        "page": "Page",
        "of": "of",
    },
    "de": {
        "usage_of": "Embeddings mit {model}",
        "discounted": "{usage}, {percent} % Nachlass auf den Listenpreis von {listed} USD je 1 Mio. Token (Vertrag)",
        "negotiated": "{usage}, zum Preis des Vertrags",
        "minimum": "Mindestabnahme: {minimum} USD im Monat, genutzt {used} USD",
        "commitment": "Bezahlt aus der vorausbezahlten Abnahme des Vertrags",
        "bought": "Guthaben",
        "given": "Gewährtes Guthaben",
        "prepaid": "Bezahlt aus Guthaben, das beim Kauf berechnet wurde",
        "owed": "Über das Guthaben hinaus geschuldet; die nächste Aufladung zahlt es",
        "reverse_charge": "Steuerschuldnerschaft des Leistungsempfängers (Artikel 196 der Richtlinie 2006/112/EG).",
        "invoice": "Rechnung",
        "topup": "Rechnung",
        "credit_note": "Rechnungskorrektur",
        "statement": "Kontoauszug",
        "number": "Nummer",
        "issued_on": "Datum",
        "supplied": "Leistungszeitraum",
        "due_on": "Fällig am",
        "po_number": "Ihre Bestellung",
        "account": "Konto",
        "tax_id": "USt-IdNr.",
        "corrects": "Storniert",
        "credits": "Teilweise Korrektur von",
        "credited": "Gutschrift: {what}",
        "refunded": "Erstattung von Guthaben",
        "paid_back": "Zurückgezahlt",
        "reason": "Grund",
        "bill_to": "Rechnung an",
        "item": "Position",
        "calls": "Aufrufe",
        "tokens": "Token",
        "price": "USD je 1 Mio. Token",
        "amount": "Betrag (USD)",
        "exactly": "genau",
        "rounded_up": "Aufrundung je Aufruf",
        "waived": "über dem Vorbehalt, erlassen",
        "lane_batch": "Batch",
        "net": "Netto",
        "sum": "Summe",
        "tax": "USt",
        "total": "Gesamt",
        "paid": "Bezahlt",
        "due": "Zu zahlen",
        "local_tax": "USt in {currency}",
        "rate": "1 USD = {rate} {currency} am {day} ({source})",
        "opening": "Anfangssaldo",
        "closing": "Endsaldo",
        "balance_note": "Dies ist ein Auszug des Guthabens und keine Rechnung. Beträge sind genau, auf ein "
        "Milliardstel Dollar.",
        "pay_to": "Bitte zahlen Sie an",
        "reference": "mit der Nummer dieses Dokuments.",
        "verify": "Die Aufrufe jeder Position sind die Blätter eines Merkle-Baums (RFC 6962), dessen Wurzel im JSON "
        "dieses Dokuments steht.",
        "of_month": "{month}: {what}",
        "credited_rest": "Gutschrift: der Rest von {what}",
        "set_off": "Verrechnet: Zahlung auf {number}",
        "in_favour": "Davon waren USD {amount} bezahlt: sie werden mit Ihrer nächsten Rechnung verrechnet.",
        "more_lines": "{count} weitere Posten, die einzeln auf unserer Rechnung stehen",
        "page": "Seite",
        "of": "von",
    },
}
_MINUS = "\u2212"
# Thousands, decimal.
_MARKS: dict[Language, tuple[str, str]] = {"en": (",", "."), "de": (".", ",")}


def title_of(kind: DocumentKind, language: Language) -> str:
    """What a document is called."""
    return WORDS[language][kind.value]


def write_decimal(text: str, language: Language) -> str:
    """A decimal number, such as ``-1234.50``, in a language's marks."""
    thousands, point = _MARKS[language]
    sign, digits = (_MINUS, text[1:]) if text.startswith("-") else ("", text)
    whole, _, part = digits.partition(".")
    grouped = f"{int(whole):,}".replace(",", thousands)
    return f"{sign}{grouped}{point}{part}" if part else f"{sign}{grouped}"


def write_cents(cents: int, language: Language) -> str:
    """An amount of cents."""
    return write_decimal(cents_text(cents), language)


def cents_text(cents: int) -> str:
    """Cents as a decimal number: -1234 -> ``-12.34``."""
    whole, part = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{part:02d}"


def write_nano(nano: int, language: Language) -> str:
    """An amount of nano-dollars, exact."""
    return write_decimal(to_usd(nano), language)


def femto_text(femto: int) -> str:
    """An amount of femto-dollars (10^-15 USD), exact."""
    whole, part = divmod(abs(femto), 10**15)
    return f"{'-' if femto < 0 else ''}{whole}.{part:015d}".rstrip("0").ljust(4, "0")


def write_day(day: date, language: Language) -> str:
    """A day: as ISO 8601 has it, in German as Germans write it."""
    return f"{day:%d.%m.%Y}" if language == "de" else day.isoformat()
