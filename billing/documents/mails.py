"""Mails issued documents: a row per address, which whoever sends claims, sends and marks. Sends nothing itself.

A mail that was sent by a process that died before it marked it is sent again, with the same Message-ID, by which a mail
program knows it. What cannot be sent within a week is given up.
"""

from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import Document, DocumentKind
from billing.documents.files import DocumentFile
from billing.documents.store import find_document, read_file
from billing.documents.words import WORDS, title_of, write_cents, write_day
from store.ids import DocumentId

# Whoever sends a mail has it for so long; a failure waits twice as long as the one before, at most six hours.
LEASE, FIRST_PAUSE, LAST_PAUSE, GIVEN_UP_AFTER = (
    timedelta(minutes=5),
    timedelta(minutes=1),
    timedelta(hours=6),
    timedelta(days=7),
)
_ADD = text("INSERT INTO document_mails (document_id, address) VALUES (:document, :address) ON CONFLICT DO NOTHING")
_CLAIM = text("""
    UPDATE document_mails m SET run_after = now() + :lease, attempts = attempts + 1 WHERE (document_id, address) = (
        SELECT document_id, address FROM document_mails WHERE state = 'waiting' AND run_after <= now()
        ORDER BY run_after, document_id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING document_id, address, attempts
""")
_GIVE_UP = text(
    "UPDATE document_mails SET state = 'failed', fault = coalesce(nullif(fault, ''), 'no mail server was set')"
    " WHERE state = 'waiting' AND created_at < now() - CAST(:age AS interval)"
)
_SENT = text(
    "UPDATE document_mails SET state = 'sent', sent_at = now(), fault = ''"
    " WHERE (document_id, address) = (:document, :address) AND state = 'waiting'"
)
_FAILED = text(
    "UPDATE document_mails SET fault = :fault, run_after = now() + :pause,"
    " state = CASE WHEN :final THEN 'failed' ELSE state END"
    " WHERE (document_id, address) = (:document, :address) AND state = 'waiting'"
)


class Mail(msgspec.Struct, frozen=True):
    """A document that is to be mailed to an address, for the so many-th time."""

    document_id: DocumentId
    address: str
    attempts: int


async def add_mails(tx: AsyncConnection, document_id: DocumentId, document: Document) -> None:
    """Let a document be mailed to whom its billing profile names."""
    for address in document.draft.buyer.emails:
        await tx.execute(_ADD, {"document": document_id, "address": address})


async def claim_mail(tx: AsyncConnection) -> Mail | None:
    """The next mail, which nobody else has for some minutes; what waited for a week is given up."""
    await tx.execute(_GIVE_UP, {"age": GIVEN_UP_AFTER})
    row = (await tx.execute(_CLAIM, {"lease": LEASE})).one_or_none()
    return None if row is None else Mail(*row)


async def mark_sent(tx: AsyncConnection, mail: Mail) -> None:
    """The mail server took it."""
    await tx.execute(_SENT, {"document": mail.document_id, "address": mail.address})


async def mark_failed(tx: AsyncConnection, mail: Mail, fault: str, *, is_final: bool) -> None:
    """The mail server did not take it; it is tried again later, unless that is final."""
    pause = min(FIRST_PAUSE * 2 ** min(mail.attempts - 1, 10), LAST_PAUSE)
    facts = {"document": mail.document_id, "address": mail.address, "fault": fault[:500], "pause": pause}
    await tx.execute(_FAILED, {**facts, "final": is_final})


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
    message = message_of(stored.document, stored.id, file, mail.address, sender)
    message["Date"] = format_datetime(stored.issued_at)
    return message


def message_of(document: Document, document_id: UUID, file: DocumentFile, address: str, sender: str) -> EmailMessage:
    """What is sent: subject, a few sentences, the file. The same document has the same Message-ID for an address."""
    draft = document.draft
    language, words = draft.buyer.language, WORDS[draft.buyer.language]
    title = f"{title_of(draft.kind, language)} {document.name}"
    sentences = [words["mail"].format(title=title, seller=draft.seller.legal_name)]
    if draft.kind is DocumentKind.INVOICE and draft.due_cents > 0 and draft.due_on is not None:
        due = write_cents(draft.due_cents, language)
        sentences.append(words["mail_due"].format(amount=f"USD {due}", day=write_day(draft.due_on, language)))
    message = EmailMessage()
    message["Subject"] = f"{draft.seller.legal_name}: {title}"
    message["From"] = sender
    message["To"] = address
    message["Message-ID"] = f"<{document_id.hex}.{address.encode().hex()[:64]}@{sender.rpartition('@')[2].rstrip('>')}>"
    if draft.seller.email:
        message["Reply-To"] = draft.seller.email
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join(sentences) + "\n")
    message.add_attachment(file.content, maintype="application", subtype="pdf", filename=f"{document.name}.pdf")
    return message
