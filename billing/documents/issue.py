"""Issues documents that were asked for: prepares, renders and checks, then takes the number and stores all in one go.

A document is rendered with the number that is next. The transaction that stores it takes exactly that number, or,
where another document took it, rolls back and renders anew. So no lock is held while pages are rendered, a crash at any
moment leaves no number without its document, and a document that fails a check has none.
"""

import asyncio
from datetime import datetime, timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.chart import LedgerKind
from billing.documents.carried import note_months, require_enough
from billing.documents.document import Document, DocumentKind, Draft
from billing.documents.drafts import credited_document, number, prepare, with_tax
from billing.documents.faults import DocumentCarried, DocumentRefused, DocumentWaits
from billing.documents.mails import add_mails
from billing.documents.payment_provider import NO_PROVIDER, PaymentProvider
from billing.documents.render import Renderer
from billing.documents.requests import DocumentRequest, request_allowance_again, request_month, request_of
from billing.documents.rounding import NANO_PER_CENT
from billing.documents.store import count_credited, find_named, list_credit_notes, next_number, store_document
from billing.favours import FavourChanged, set_off
from billing.ledger import Posting, post
from billing.money import NanoUSD
from billing.receivables import AmountRefused, Receivable, credit_part, credit_receivable, record_receivable
from store.ids import DocumentRequestId, wire
from store.postgres import Database

log = structlog.get_logger("billing.documents")

# Whoever works on a request has it for so long; a process that died gives it up by that.
LEASE = timedelta(minutes=2)
# How long a document waits for another one that has to be first.
PAUSE = timedelta(seconds=10)
NUMBER_ATTEMPTS = 20
# SQLSTATE serialization_failure: the number was taken.
_TAKEN = "40001"
_CLAIM = text("""
    UPDATE document_requests SET run_after = now() + :lease WHERE id = (
        SELECT id FROM document_requests WHERE state = 'waiting' AND run_after <= now()
        ORDER BY run_after, id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING id, kind, source_ref, account_id, facts::text AS facts, state, fault, document_id, created_at, created_by
""")
_REFUSE = text("UPDATE document_requests SET state = 'refused', fault = :fault WHERE id = :id AND state = 'waiting'")
_CARRY = text("""
    UPDATE document_requests SET fault = :fault, carried_nano = coalesce(CAST(:drawn AS bigint), carried_nano),
        state = CASE WHEN coalesce(CAST(:drawn AS bigint), carried_nano) IS NULL THEN 'refused' ELSE 'carried' END
    WHERE id = :id AND state = 'waiting'
""")
_WAIT = text("UPDATE document_requests SET run_after = now() + :pause WHERE id = :id AND state = 'waiting'")
_LOCK = text("SELECT id FROM document_requests WHERE id = :id AND state = 'waiting' FOR UPDATE")
_DONE = text("UPDATE document_requests SET state = 'issued', document_id = :document WHERE id = :id")


class _NumberTaken(Exception):
    """Another document took the number meanwhile."""


async def issue_waiting(
    db: Database, renderer: Renderer, *, at_most: int = 1_000, provider: PaymentProvider = NO_PROVIDER
) -> int:
    """Issue what waits, one after the other; returns how many requests were decided."""
    for decided in range(at_most):
        async with db.transaction() as tx:
            row = (await tx.execute(_CLAIM, {"lease": LEASE})).one_or_none()
        if row is None:
            return decided
        await issue(db, renderer, request_of(row), provider)
    return at_most


async def issue(
    db: Database, renderer: Renderer, request: DocumentRequest, provider: PaymentProvider = NO_PROVIDER
) -> None:
    """Issue the document of one request, or record why not. Run twice, it has its effect once."""
    for attempt in range(NUMBER_ATTEMPTS):
        try:
            await _attempt(db, renderer, request, provider)
        except DocumentRefused as refused:
            await _refuse(db, request, str(refused))
        except DocumentCarried as carried:
            await _carry(db, request, carried)
        except DocumentWaits as waits:
            log.info("document_waits", request=wire(DocumentRequestId, request.id), reason=str(waits)[:300])
            async with db.transaction() as tx:
                await tx.execute(_WAIT, {"id": request.id, "pause": PAUSE})
        except IntegrityError as refused:
            await _refuse(db, request, _conflict(request, refused))
        except _NumberTaken:
            await asyncio.sleep(0.01 * attempt)
            continue
        return
    log.warning("document_postponed", request=wire(DocumentRequestId, request.id), attempts=NUMBER_ATTEMPTS)


async def _attempt(db: Database, renderer: Renderer, request: DocumentRequest, provider: PaymentProvider) -> None:
    document = await _prepare(db, request, provider)
    files = await renderer.render(document)
    try:
        async with db.transaction() as tx:
            if (await tx.execute(_LOCK, {"id": request.id})).one_or_none() is None:
                return  # Another process issued it meanwhile.
            is_note = request.kind is DocumentKind.CREDIT_NOTE
            corrects = (await credited_document(tx, request.facts)).id if is_note else None
            document_id = await store_document(tx, document, request.account_id, files, corrects)
            receivable = await _book(tx, request, document, db.clock.now())
            await note_months(tx, document_id, request.account_id, document.draft)
            await _set_off(tx, document.draft, receivable, db.clock.now())
            if receivable is not None and provider.collect is not None:
                await provider.collect(tx, document_id, receivable.id, request.account_id)
            await _reissue(tx, request, document)
            await add_mails(tx, document_id, document, request.account_id)
            await tx.execute(_DONE, {"id": request.id, "document": document_id})
    except DBAPIError as fault:
        if getattr(fault.orig, "sqlstate", None) == _TAKEN:
            raise _NumberTaken from fault
        raise
    log.info("document_issued", document=document.name, request=wire(DocumentRequestId, request.id))


async def _prepare(db: Database, request: DocumentRequest, provider: PaymentProvider) -> Document:
    """The document with the number that is next. No transaction is open while a provider decides its tax."""
    decide_tax = provider.decide_tax if request.kind is DocumentKind.INVOICE else None
    async with db.transaction(snapshot=True) as tx:
        draft = await prepare(tx, request, db.clock.now(), is_taxed_elsewhere=decide_tax is not None)
    tax = None if decide_tax is None else await decide_tax(draft)
    async with db.transaction(snapshot=True) as tx:
        if tax is not None:
            draft = await with_tax(tx, draft, *tax)
        if request.kind is DocumentKind.INVOICE:
            drawn = draft.net_cents * NANO_PER_CENT - draft.rounding_nano
            await require_enough(tx, request.account_id, draft, drawn, provider.least_cents)
        return number(draft, await next_number(tx, draft.seller.id, draft.series))


async def _reissue(tx: AsyncConnection, request: DocumentRequest, document: Document) -> None:
    """Request the invoice that follows one that was taken back, with the credit note: so it comes after it."""
    if not request.facts.reissues or document.draft.is_partial:
        return
    account, period, seller = request.account_id, document.draft.period, document.draft.seller.id
    after, by = await count_credited(tx, account, DocumentKind.INVOICE, period, seller), request.created_by
    following = await request_month(tx, DocumentKind.INVOICE, account, period, seller, by, after=after)
    corrected = await find_named(tx, document.draft.corrects.name) if document.draft.corrects else None
    for note in await list_credit_notes(tx, corrected.id) if corrected is not None else ():
        allowed = note.document.draft
        if allowed.is_partial and allowed.corrects is not None:
            # What was allowed of the one before is allowed of this one, too.
            reason, name = allowed.corrects.reason, note.document.name
            await request_allowance_again(tx, account, following.source_ref, name, allowed.net_cents, reason, by)


async def _book(tx: AsyncConnection, request: DocumentRequest, document: Document, now: datetime) -> Receivable | None:
    """Book what an invoice makes of a drawn line: a receivable with tax, which is returned, and rounding."""
    draft = document.draft
    origin = await find_named(tx, draft.corrects.name) if draft.corrects is not None else None
    legs = invoice_legs(draft, request, origin.document.draft if origin else None)
    if not any(leg.amount for leg in legs):
        return None
    account = request.account_id
    entry = await post(tx, "invoice", f"document:{document.name}", legs, account_id=account, note=document.name)
    if draft.corrects is not None:
        name, total = draft.corrects.name, NanoUSD(draft.total_cents * NANO_PER_CENT)
        if draft.is_partial:
            await credit_part(tx, name, total, now, credited_by=document.name, entry_id=entry)
        else:
            await credit_receivable(tx, name, total, credited_by=document.name, entry_id=entry)
        return None
    drawn = NanoUSD(sum(leg.amount for leg in legs if leg.kind is LedgerKind.CUSTOMER_UNBILLED))
    if drawn <= 0 or draft.total_cents == 0:  # what rounds to no cent is owed by nobody, and frees the line at once
        return None
    try:
        return await record_receivable(
            tx,
            account,
            source_ref=document.name,
            entry_id=entry,
            drawn=drawn,
            total=NanoUSD(draft.total_cents * NANO_PER_CENT),
            due_on=draft.due_on or draft.issued_on,
        )
    except AmountRefused as fault:
        # Lent by hand, outside of a line: what it demands is booked, and its payment is for a person.
        log.warning("receivable_not_recorded", document=document.name, reason=str(fault))
        return None


async def _set_off(tx: AsyncConnection, draft: Draft, receivable: Receivable | None, now: datetime) -> None:
    """Pay the invoice from what its draft says that is in the customer's favour."""
    for one in draft.set_off or ():
        if receivable is None:
            raise DocumentRefused("set-off-is-of-a-receivable", "paid_cents", "the invoice demands nothing of a line")
        try:
            await set_off(tx, one.name, receivable, NanoUSD(one.cents * NANO_PER_CENT), now)
        except FavourChanged as fault:
            # It was used, or paid back, meanwhile: the document is prepared anew.
            raise _NumberTaken from fault


def invoice_legs(draft: Draft, request: DocumentRequest, origin: Draft | None = None) -> list[Posting]:
    """The legs of an invoice's entry, or of its credit note's; none of what books itself (top-ups) or nothing.

    Receivable debit, unbilled credit by what the line drew to the nano-dollar, tax credit, the rest to ``rounding``.
    A credit note of a part leaves what was drawn on its invoice: what is not demanded any more is goodwill. One of the
    rest takes back the whole of its invoice, ``origin``, whose parts are no goodwill then.
    """
    credits_invoice = draft.kind is DocumentKind.CREDIT_NOTE and not draft.paid_by
    if draft.kind is not DocumentKind.INVOICE and not credits_invoice:
        return []
    sign = -1 if draft.kind is DocumentKind.CREDIT_NOTE else 1
    rounding, allowed = draft.rounding_nano, 0
    if draft.corrects is not None and draft.corrects.is_rest and origin is not None:
        rounding, allowed = origin.rounding_nano, (origin.net_cents - draft.net_cents) * NANO_PER_CENT
    drawn = draft.net_cents * NANO_PER_CENT + allowed - rounding
    account, jurisdiction = request.account_id, draft.tax.jurisdiction if draft.tax else ""
    amounts = [
        (LedgerKind.CUSTOMER_RECEIVABLE, -draft.total_cents * NANO_PER_CENT, account, ""),
        (LedgerKind.GOODWILL_EXPENSE, drawn, None, "")
        if draft.is_partial
        else (LedgerKind.CUSTOMER_UNBILLED, drawn, account, ""),
        (LedgerKind.TAX_PAYABLE, draft.tax_cents * NANO_PER_CENT, None, jurisdiction),
        (LedgerKind.ROUNDING, rounding, None, ""),
        (LedgerKind.GOODWILL_EXPENSE, -allowed, None, ""),
    ]
    return [Posting(kind, NanoUSD(sign * nano), who, detail) for kind, nano, who, detail in amounts]


async def _carry(db: Database, request: DocumentRequest, carried: DocumentCarried) -> None:
    """Note that the month will be on a later invoice, or is on one."""
    async with db.transaction() as tx:
        facts = {"id": request.id, "fault": str(carried)[:1000], "drawn": carried.drawn or None}
        await tx.execute(_CARRY, facts)
    log.info("document_carried", request=wire(DocumentRequestId, request.id), reason=str(carried))


async def _refuse(db: Database, request: DocumentRequest, fault: str) -> None:
    async with db.transaction() as tx:
        await tx.execute(_REFUSE, {"id": request.id, "fault": fault[:1000]})
    log.warning("document_refused", request=wire(DocumentRequestId, request.id), fault=fault[:300])


def _conflict(request: DocumentRequest, fault: IntegrityError) -> str:
    """Why the database refused to store it: it knows what was issued meanwhile."""
    if request.kind is DocumentKind.CREDIT_NOTE:
        return "credited-once (corrects): credit notes take back no more than the document has"
    sentence = str(fault.orig).partition(": ")[2] or str(fault.orig)
    return f"issued-once (period): {sentence[:300]}"
