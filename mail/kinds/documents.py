"""Mails with an issued document, and reminders of an invoice that is overdue."""

from typing import ClassVar
from uuid import UUID

from typing_extensions import override

from mail.values import Audience, Mail


class DocumentReference(Mail, frozen=True, kw_only=True):
    """What is stored of a mail of a document: which; ``step`` not 0: the so many-th reminder of it.

    Whoever sends it has it replaced by :class:`DocumentIssued` or :class:`InvoiceOverdue`, with what holds then.
    """

    kind: ClassVar[str] = "document"
    audience: ClassVar[Audience] = Audience.MONEY

    document: UUID
    step: int = 0


class _OfDocument(Mail, frozen=True, kw_only=True):
    """Titles, amounts and days are written in the reader's language already. ``title``: kind and number."""

    audience: ClassVar[Audience] = Audience.MONEY

    title: str
    number: str
    seller: str
    amount: str
    due_day: str

    @override
    def link(self, account: str) -> str:
        return f"/accounts/{account}/documents/{self.number}"


class DocumentIssued(_OfDocument, frozen=True, kw_only=True):
    """A document is attached. ``amount`` is empty where nothing is to be paid."""

    kind: ClassVar[str] = "document_issued"


class InvoiceOverdue(_OfDocument, frozen=True, kw_only=True):
    """An invoice was not paid in time. ``pause_day``: when the credit line is paused; empty: it is already.

    ``payment_url``: where it can be paid, if it is collected.
    """

    kind: ClassVar[str] = "invoice_overdue"

    pause_day: str
    payment_url: str = ""
