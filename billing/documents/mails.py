"""Mails issued documents, and reminders of overdue ones: which, to whom, and what they say when they are sent.

The outbox (:mod:`mail`) has a document by reference; the file, and what is still open, are read when it is sent.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import Document, DocumentKind
from billing.documents.rounding import cents_of
from billing.documents.store import StoredDocument, find_document, find_named, read_file
from billing.documents.words import title_of, write_cents, write_day
from billing.overdue import REMINDER_DAYS, SHRINK_DAYS
from billing.receivables import find_receivable
from mail import Mail, enqueue
from mail.kinds import DocumentIssued, DocumentReference, InvoiceOverdue
from mail.values import Attachment, Finished, recipients
from store.ids import AccountId, DocumentId, new_id


async def add_mails(tx: AsyncConnection, document_id: DocumentId, document: Document, account_id: AccountId) -> None:
    """Let a document be mailed to whom its billing profile names."""
    await _add(tx, DocumentReference(document=document_id), document, account_id, _dedupe(document_id, 0))


async def send_again(tx: AsyncConnection, stored: StoredDocument, addresses: Sequence[str]) -> None:
    """Let a document be mailed to these addresses, whether it was mailed to them before or not."""
    reference, language = DocumentReference(document=stored.id), stored.document.draft.buyer.language
    dedupe = f"{_dedupe(stored.id, 0)}:{new_id().hex}"
    for recipient in recipients(addresses, language):
        await enqueue(tx, reference, recipient, dedupe=dedupe, account_id=stored.account_id)


async def add_reminder(tx: AsyncConnection, name: str, step: int) -> None:
    """Let whom an invoice was made out to be reminded of it, for the so many-th time."""
    stored = await find_named(tx, name)
    if stored is None:
        return  # Booked by hand: there is nothing to send.
    reference = DocumentReference(document=stored.id, step=step)
    await _add(tx, reference, stored.document, stored.account_id, _dedupe(stored.id, step))


async def finish_mail(tx: AsyncConnection, reference: DocumentReference) -> Finished | None:
    """What a mail says now, with the document's file; None for a reminder of what was paid or credited meanwhile."""
    stored = await find_document(tx, DocumentId(reference.document))
    assert stored is not None, "documents stay; this is a bug"
    mail: Mail | None = issued_mail(stored.document)
    if reference.step:
        found = await find_receivable(tx, stored.document.name)
        assert found is not None, "a reminder is of what an invoice demands; this is a bug"
        url = stored.payment_url or ""
        is_open = found.open > 0
        mail = overdue_mail(stored.document, reference.step, open_nano=found.open, payment_url=url) if is_open else None
    if mail is None:
        return None
    form = "pdf" if stored.document.draft.kind is DocumentKind.STATEMENT else "facturx"
    file = await read_file(tx, stored.id, form)
    assert file is not None, "a document was stored with its files; this is a bug"
    seller = stored.document.draft.seller
    attached = Attachment(f"{stored.document.name}.pdf", "pdf", file.content)
    return Finished(mail=mail, attachments=(attached,), reply_to=seller.email, sender=seller.email)


def issued_mail(document: Document) -> DocumentIssued:
    """What the mail of a document says: what it is, and what is to be paid until when."""
    draft = document.draft
    language, is_due = draft.buyer.language, draft.kind is DocumentKind.INVOICE and draft.due_cents > 0
    return DocumentIssued(
        title=f"{title_of(draft.kind, language)} {document.name}",
        number=document.name,
        seller=draft.seller.legal_name,
        amount=f"USD {write_cents(draft.due_cents, language)}" if is_due and draft.due_on else "",
        due_day=write_day(draft.due_on, language) if draft.due_on else "",
    )


def overdue_mail(document: Document, step: int, *, open_nano: int, payment_url: str = "") -> InvoiceOverdue:
    """What a reminder says: what is open since when, and from when on nothing is lent."""
    draft = document.draft
    language, due_on = draft.buyer.language, draft.due_on or draft.issued_on
    is_last = step >= len(REMINDER_DAYS)
    return InvoiceOverdue(
        title=f"{title_of(draft.kind, language)} {document.name}",
        number=document.name,
        seller=draft.seller.legal_name,
        amount=f"USD {write_cents(cents_of(open_nano), language)}",
        due_day=write_day(due_on, language),
        pause_day="" if is_last else write_day(due_on + timedelta(days=SHRINK_DAYS), language),
        payment_url=payment_url,
    )


def _dedupe(document_id: DocumentId, step: int) -> str:
    return f"document:{document_id.hex}:{step}"


async def _add(
    tx: AsyncConnection, reference: DocumentReference, document: Document, account_id: AccountId, dedupe: str
) -> None:
    buyer = document.draft.buyer
    for recipient in recipients(buyer.emails, buyer.language):
        await enqueue(tx, reference, recipient, dedupe=dedupe, account_id=account_id)
