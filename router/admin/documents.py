"""Asks for invoices, statements and credit notes through the one write path; the jobs process issues them."""

from datetime import date

import msgspec

from billing.documents.credit_notes import Credited, partial_note_of, rest_note_of
from billing.documents.document import DocumentKind, month_bounds
from billing.documents.drafts import SETTLED_AFTER
from billing.documents.faults import DocumentRefused
from billing.documents.mails import send_again
from billing.documents.months import list_wanted
from billing.documents.profiles import find_only_seller, list_sellers
from billing.documents.requests import (
    DocumentRequest,
    RequestState,
    find_request,
    find_source,
    month_source,
    request_credit_note,
    request_month,
    retry_refused,
)
from billing.documents.store import StoredDocument, count_credited, find_named, list_credit_notes
from billing.documents.words import cents_text
from billing.receivables import find_receivable
from billing.stripe.collection_rules import CollectionStatus
from billing.stripe.collections import find_collection, retry_collection, start_collection
from billing.stripe.config import StripeConfig
from billing.stripe.minimum_amounts import minimum_fault
from router.admin.accounts import require_account
from router.admin.payments import require_stripe
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.request.body import printable_excerpt
from store.ids import AccountId, DocumentRequestId, wire

CREDITABLE = (DocumentKind.INVOICE, DocumentKind.TOPUP)
_DONE = {False: "credited", True: "voided"}
# Which field of the form a rule's field is.
_PARAMS = {"line": "line", "amount": "amount_usd"}


async def ask_for_month(
    work: UnitOfWork, account_id: AccountId, kind: DocumentKind, period: date, seller: str
) -> DocumentRequest:
    """Ask for an account's invoice or statement of a month; again after the one before was credited.

    Without a seller it is the only one's, and so the same request as with its name. Raises ``NotFound``.
    """
    await require_account(work, account_id)
    only = await find_only_seller(work.connection)
    seller = seller or only
    credited = await count_credited(work.connection, account_id, kind, period, seller)
    unnamed = month_source(kind, account_id, period, "")
    # Before there was a seller, and by older releases, a month was requested of none: that is the first request.
    is_unnamed = seller == only and not credited and await find_source(work.connection, unnamed) is not None
    request = await request_month(
        work.connection, kind, account_id, period, "" if is_unnamed else seller, work.actor, after=credited
    )
    facts: dict[str, object] = {"kind": kind.value, "period": f"{period:%Y-%m}", "seller": seller}
    work.record_change(Change("document.request", wire(DocumentRequestId, request.id), account_id, after=facts))
    return request


class MonthRequested(msgspec.Struct, frozen=True):
    """How many documents of a month were requested just now."""

    invoices: int
    statements: int


async def ask_for_all(work: UnitOfWork, period: date, seller: str) -> MonthRequested:
    """Ask for the documents of a month that nobody has asked for yet, of all accounts.

    Raises ``InvalidRequest`` for a month of which calls may still be booked, and where it is not said who sells.
    """
    if work.now < month_bounds(period)[1] + SETTLED_AFTER:
        raise InvalidRequest(f"Calls of {period:%Y-%m} may still be booked: an hour after its end.", param="period")
    known = {one.seller.id for one in await list_sellers(work.connection)}
    seller = seller or await find_only_seller(work.connection)
    if seller not in known:
        raise InvalidRequest(f"Name the seller, of {', '.join(sorted(known)) or 'none'}.", param="seller")
    wanted = await list_wanted(work.connection, period, seller)
    for one in wanted:
        await request_month(work.connection, one.kind, one.account_id, period, seller, work.actor)
    invoices = sum(one.kind is DocumentKind.INVOICE for one in wanted)
    requested = MonthRequested(invoices, len(wanted) - invoices)
    facts: dict[str, object] = {"seller": seller, **msgspec.structs.asdict(requested)}
    work.record_change(Change("document.request_month", f"{period:%Y-%m}", after=facts))
    return requested


async def ask_for_credit_note(
    work: UnitOfWork,
    number: str,
    reason: str,
    *,
    net_cents: int = 0,
    line: int = 0,
    reissues: bool = False,
) -> DocumentRequest:
    """Ask for the credit note of an invoice, or of a net amount or a line of it; ``reissues``: then for a new invoice.

    Raises ``NotFound``, ``InvalidRequest`` for more than is left, and ``Conflict`` for what cannot be credited.
    """
    stored = await require_document(work, number)
    kind = stored.document.draft.kind
    if kind not in CREDITABLE or (reissues and kind is not DocumentKind.INVOICE):
        raise Conflict(f"{number} is a {kind.value}: only an invoice is {_DONE[reissues]}.", param="number")
    if stored.corrected_by is not None:
        raise Conflict(f"{number} was credited by {stored.corrected_by}.", param="number")
    is_partial = bool(net_cents or line)
    notes = [one.document for one in await list_credit_notes(work.connection, stored.id)]
    if is_partial or notes:
        try:
            if is_partial:
                part = Credited(net_cents, reason, line)
                net_cents = partial_note_of(stored.document, notes, part, work.now.date()).net_cents
            else:
                rest_note_of(stored.document, notes, work.now.date(), reason)
        except DocumentRefused as refused:
            raise InvalidRequest(f"{refused}.", param=_PARAMS.get(refused.field, "amount_usd")) from refused
    request = await request_credit_note(
        work.connection,
        stored.account_id,
        stored.id,
        reason,
        work.actor,
        net_cents=net_cents,
        line=line,
        reissues=reissues,
    )
    facts: dict[str, object] = {"kind": DocumentKind.CREDIT_NOTE.value, "corrects": number}
    if is_partial:
        facts |= {"amount_usd": cents_text(net_cents), "line": line or None}
    change = Change(
        "document.request", wire(DocumentRequestId, request.id), stored.account_id, after=facts, reason=reason
    )
    work.record_change(change)
    return request


async def send_document(work: UnitOfWork, number: str, emails: tuple[str, ...]) -> tuple[str, ...]:
    """Have a document mailed once more, by default to its own addresses, which are returned.

    Raises ``NotFound``, ``Conflict``. The audit has how many addresses there are: they are a person's.
    """
    stored = await require_document(work, number)
    addresses = tuple(dict.fromkeys(emails or stored.document.draft.buyer.emails))
    if not addresses:
        raise Conflict(f"{number} was made out to nobody with an e-mail address: name one.", param="emails")
    await send_again(work.connection, stored, addresses)
    facts: dict[str, object] = {"addresses": len(addresses)}
    work.record_change(Change("document.send", number, stored.account_id, after=facts))
    return addresses


async def collect_document(work: UnitOfWork, config: StripeConfig | None, number: str) -> StoredDocument:
    """Have Stripe collect an invoice: one that was issued without it, or one that a person has looked at.

    Raises ``NotFound``, ``PaymentsNotConfigured``, and ``Conflict`` for what there is nothing to collect of.
    """
    require_stripe(config)
    stored = await require_document(work, number)
    receivable = await find_receivable(work.connection, number)
    if receivable is None or receivable.open <= 0:
        raise Conflict(f"Nothing of {number} is to be paid.", param="number")
    if small := minimum_fault(receivable.open):
        raise Conflict(f"{number} cannot be collected: {small}.", param="number")
    found = await find_collection(work.connection, stored.id, locked=True)
    if found is not None and found.status is not CollectionStatus.REVIEW:
        raise Conflict(f"Stripe has {number} already: its collection is {found.status.value}.", param="number")
    await start_collection(work.connection, stored.id, receivable.id, stored.account_id)
    if found is not None:
        await retry_collection(work.connection, found)
    work.record_change(Change("document.collect", number, stored.account_id))
    return await require_document(work, number)


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
