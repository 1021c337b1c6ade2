"""Mails issued documents, and reminders of overdue ones: a row per address, to be claimed, sent and marked by a sender.

A mail that was sent by a process that died before it marked it is sent again, with the same Message-ID, by which a mail
program knows it. What cannot be sent within a week is given up.
"""

from collections.abc import Sequence
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import Document, DocumentKind
from billing.documents.files import DocumentFile
from billing.documents.rounding import cents_of
from billing.documents.store import find_document, find_named, read_file
from billing.documents.words import WORDS, title_of, write_cents, write_day
from billing.overdue import REMINDER_DAYS, SHRINK_DAYS
from billing.receivables import find_receivable
from store.ids import DocumentId

# Whoever sends a mail has it for so long; a failure waits twice as long as the one before, at most six hours.
LEASE, FIRST_PAUSE, LAST_PAUSE, GIVEN_UP_AFTER = (
    timedelta(minutes=5),
    timedelta(minutes=1),
    timedelta(hours=6),
    timedelta(days=7),
)
_ADD = text(
    "INSERT INTO document_mails (document_id, address, step) VALUES (:document, :address, :step) ON CONFLICT DO NOTHING"
)
_FORGET = text("DELETE FROM document_mails WHERE (document_id, address, step) = (:document, :address, 0)")
# What was paid or credited meanwhile is reminded of no more.
_DROP = text("""
    DELETE FROM document_mails m USING documents d, receivables r
    WHERE m.step > 0 AND m.state = 'waiting' AND d.id = m.document_id AND r.source_ref = d.name AND r.total_nano <=
        (SELECT coalesce(sum(p.amount_nano), 0) FROM receivable_payments p WHERE p.receivable_id = r.id)
""")
_CLAIM = text("""
    UPDATE document_mails m SET run_after = now() + :lease, attempts = attempts + 1
    WHERE (document_id, address, step) = (
        SELECT document_id, address, step FROM document_mails WHERE state = 'waiting' AND run_after <= now()
        ORDER BY run_after, document_id, step LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING document_id, address, attempts, step
""")
_GIVE_UP = text(
    "UPDATE document_mails SET state = 'failed', fault = coalesce(nullif(fault, ''), 'no mail server was set')"
    " WHERE state = 'waiting' AND created_at < now() - CAST(:age AS interval)"
)
_SENT = text(
    "UPDATE document_mails SET state = 'sent', sent_at = now(), fault = ''"
    " WHERE (document_id, address, step) = (:document, :address, :step) AND state = 'waiting'"
)
_FAILED = text(
    "UPDATE document_mails SET fault = :fault, run_after = now() + :pause,"
    " state = CASE WHEN :final THEN 'failed' ELSE state END"
    " WHERE (document_id, address, step) = (:document, :address, :step) AND state = 'waiting'"
)


class Mail(msgspec.Struct, frozen=True):
    """A document that is to be mailed to an address, for the so many-th time; ``step`` not 0: a reminder of it."""

    document_id: DocumentId
    address: str
    attempts: int
    step: int = 0


async def add_mails(tx: AsyncConnection, document_id: DocumentId, document: Document) -> None:
    """Let a document be mailed to whom its billing profile names."""
    for address in document.draft.buyer.emails:
        await tx.execute(_ADD, {"document": document_id, "address": address, "step": 0})


async def send_again(tx: AsyncConnection, document_id: DocumentId, addresses: Sequence[str]) -> None:
    """Let a document be mailed to these addresses, whether it was mailed to them before or not."""
    for address in addresses:
        await tx.execute(_FORGET, {"document": document_id, "address": address})
        await tx.execute(_ADD, {"document": document_id, "address": address, "step": 0})


async def add_reminder(tx: AsyncConnection, name: str, step: int) -> None:
    """Let whom an invoice was made out to be reminded of it, for the so many-th time."""
    stored = await find_named(tx, name)
    if stored is None:
        return  # Booked by hand: there is nothing to send.
    for address in stored.document.draft.buyer.emails:
        await tx.execute(_ADD, {"document": stored.id, "address": address, "step": step})


async def claim_mail(tx: AsyncConnection) -> Mail | None:
    """The next mail, which nobody else has for some minutes; what waited for a week is given up."""
    await tx.execute(_GIVE_UP, {"age": GIVEN_UP_AFTER})
    await tx.execute(_DROP)
    row = (await tx.execute(_CLAIM, {"lease": LEASE})).one_or_none()
    return None if row is None else Mail(*row)


async def mark_sent(tx: AsyncConnection, mail: Mail) -> None:
    """The mail server took it."""
    await tx.execute(_SENT, {"document": mail.document_id, "address": mail.address, "step": mail.step})


async def mark_failed(tx: AsyncConnection, mail: Mail, fault: str, *, is_final: bool) -> None:
    """The mail server did not take it; it is tried again later, unless that is final."""
    pause = min(FIRST_PAUSE * 2 ** min(mail.attempts - 1, 10), LAST_PAUSE)
    facts = {"document": mail.document_id, "address": mail.address, "step": mail.step}
    await tx.execute(_FAILED, {**facts, "fault": fault[:500], "pause": pause, "final": is_final})


async def read_message(tx: AsyncConnection, mail: Mail, sender: str) -> EmailMessage | None:
    """The message of a mail, with the document's file; None without an address to send it from.

    ``sender`` empty: the seller's own.
    """
    stored = await find_document(tx, mail.document_id)
    assert stored is not None, "documents stay; this is a bug"
    sender = sender or stored.document.draft.seller.email
    if not sender:
        return None
    form = "pdf" if stored.document.draft.kind is DocumentKind.STATEMENT else "facturx"
    file = await read_file(tx, mail.document_id, form)
    assert file is not None, "a document was stored with its files; this is a bug"
    if not mail.step:
        message = message_of(stored.document, stored.id, file, mail.address, sender)
        message["Date"] = format_datetime(stored.issued_at)
        return message
    found = await find_receivable(tx, stored.document.name)
    assert found is not None, "a reminder is of what an invoice demands; this is a bug"
    return reminder_of(stored.document, stored.id, file, mail, sender, open_nano=found.open, url=stored.payment_url)


def message_of(document: Document, document_id: UUID, file: DocumentFile, address: str, sender: str) -> EmailMessage:
    """What is sent: subject, a few sentences, the file. The same document has the same Message-ID for an address."""
    draft = document.draft
    language, words = draft.buyer.language, WORDS[draft.buyer.language]
    title = f"{title_of(draft.kind, language)} {document.name}"
    sentences = [words["mail"].format(title=title, seller=draft.seller.legal_name)]
    if draft.kind is DocumentKind.INVOICE and draft.due_cents > 0 and draft.due_on is not None:
        due = write_cents(draft.due_cents, language)
        sentences.append(words["mail_due"].format(amount=f"USD {due}", day=write_day(draft.due_on, language)))
    subject = f"{draft.seller.legal_name}: {title}"
    return _message(document, subject, sentences, file, address, sender, f"{document_id.hex}")


def reminder_of(
    document: Document,
    document_id: UUID,
    file: DocumentFile,
    mail: Mail,
    sender: str,
    *,
    open_nano: int,
    url: str | None = None,
) -> EmailMessage:
    """What a reminder says: what is open since when, and from when on nothing is lent."""
    draft = document.draft
    language, words = draft.buyer.language, WORDS[draft.buyer.language]
    title, due_on = f"{title_of(draft.kind, language)} {document.name}", draft.due_on or draft.issued_on
    amount = f"USD {write_cents(cents_of(open_nano), language)}"
    pause = words["mail_paused"]
    if mail.step < len(REMINDER_DAYS):
        pause = words["mail_pause"].format(day=write_day(due_on + timedelta(days=SHRINK_DAYS), language))
    sentences = [words["mail_overdue"].format(title=title, amount=amount, day=write_day(due_on, language)), pause]
    if url:
        sentences.insert(1, words["mail_pay_at"].format(url=url))
    subject = f"{draft.seller.legal_name}: {words['reminder'].format(title=title)}"
    return _message(document, subject, sentences, file, mail.address, sender, f"{document_id.hex}.{mail.step}")


def _message(
    document: Document,
    subject: str,
    sentences: list[str],
    file: DocumentFile,
    address: str,
    sender: str,
    known: str,
) -> EmailMessage:
    draft = document.draft
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = sender
    message["To"] = address
    message["Message-ID"] = f"<{known}.{address.encode().hex()[:64]}@{sender.rpartition('@')[2].rstrip('>')}>"
    if draft.seller.email:
        message["Reply-To"] = draft.seller.email
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join(sentences) + "\n")
    message.add_attachment(file.content, maintype="application", subtype="pdf", filename=f"{document.name}.pdf")
    return message
