"""Asks for invoices, statements and credit notes through the one write path; the jobs process issues them."""

from datetime import date

import msgspec

from billing.documents.document import DocumentKind
from billing.documents.requests import (
    DocumentRequest,
    RequestState,
    find_request,
    request_credit_note,
    request_month,
    retry_refused,
)
from billing.documents.store import StoredDocument, count_credited, find_named
from router.admin.accounts import require_account
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, NotFound
from router.request.body import printable_excerpt
from store.ids import AccountId, DocumentRequestId, wire

CREDITABLE = (DocumentKind.INVOICE, DocumentKind.TOPUP)


async def ask_for_month(
    work: UnitOfWork, account_id: AccountId, kind: DocumentKind, period: date, seller: str
) -> DocumentRequest:
    """Ask for an account's invoice or statement of a month; again after the one before was credited.

    Raises ``NotFound``.
    """
    await require_account(work, account_id)
    credited = await count_credited(work.connection, account_id, kind, period, seller)
    request = await request_month(work.connection, kind, account_id, period, seller, work.actor, after=credited)
    facts: dict[str, object] = {"kind": kind.value, "period": f"{period:%Y-%m}", "seller": seller}
    work.record_change(Change("document.request", wire(DocumentRequestId, request.id), account_id, after=facts))
    return request


async def ask_for_credit_note(work: UnitOfWork, number: str, reason: str) -> DocumentRequest:
    """Ask for the credit note of an invoice. Raises ``NotFound``, and ``Conflict`` for what cannot be credited."""
    stored = await require_document(work, number)
    if stored.document.draft.kind not in CREDITABLE:
        raise Conflict(
            f"{number} is a {stored.document.draft.kind.value}: only an invoice is credited.", param="number"
        )
    if stored.corrected_by is not None:
        raise Conflict(f"{number} was credited by {stored.corrected_by}.", param="number")
    request = await request_credit_note(work.connection, stored.account_id, stored.id, reason, work.actor)
    facts: dict[str, object] = {"kind": DocumentKind.CREDIT_NOTE.value, "corrects": number}
    change = Change(
        "document.request", wire(DocumentRequestId, request.id), stored.account_id, after=facts, reason=reason
    )
    work.record_change(change)
    return request


async def retry_request(work: UnitOfWork, request_id: DocumentRequestId) -> DocumentRequest:
    """Let a refused request be tried again. Raises ``NotFound``, and ``Conflict`` for one that was not refused."""
    request = await find_request(work.connection, request_id)
    if request is None:
        raise NotFound(f"There is no request {wire(DocumentRequestId, request_id)}.", param="request")
    if not await retry_refused(work.connection, request.account_id, request_id):
        raise Conflict(f"The request is {request.state.value}: only a refused one is tried again.", param="request")
    was: dict[str, object] = {"fault": request.fault}
    change = Change("document.retry", wire(DocumentRequestId, request_id), request.account_id, was)
    work.record_change(change)
    return msgspec.structs.replace(request, state=RequestState.WAITING, fault="")


async def require_document(work: UnitOfWork, number: str) -> StoredDocument:
    """The document of a number. Raises ``NotFound``."""
    return found_document(await find_named(work.connection, number), number)


def found_document(stored: StoredDocument | None, number: str) -> StoredDocument:
    """A document that was found. Raises ``NotFound``."""
    if stored is None:
        raise NotFound(f"There is no document {printable_excerpt(number)}.", param="number")
    return stored
