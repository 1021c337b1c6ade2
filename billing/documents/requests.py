"""Asks for documents, and lists what was asked: a row that the jobs process acts on. Renders and numbers nothing.

``serve`` and the Stripe part ask here; the request is in their transaction, so it is there exactly if their change is.
"""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import DocumentKind
from billing.documents.tax import TaxDecision
from store.ids import AccountId, DocumentId, DocumentRequestId, new_id, wire

_INSERT = text(
    "INSERT INTO document_requests (id, kind, source_ref, account_id, facts, created_by)"
    " VALUES (:id, :kind, :source, :account, CAST(:facts AS jsonb), :by)"
    " ON CONFLICT (source_ref) DO UPDATE SET state = 'waiting', fault = '', run_after = now()"
    " WHERE document_requests.state IN ('refused', 'carried')"
)
_COLUMNS = "id, kind, source_ref, account_id, facts::text AS facts, state, fault, document_id, created_at, created_by"
_FIND = text(f"SELECT {_COLUMNS} FROM document_requests WHERE source_ref = :source")  # noqa: S608 - constants
_LIST = text(
    f"SELECT {_COLUMNS} FROM document_requests"  # noqa: S608 - constants
    " WHERE (CAST(:account AS uuid) IS NULL OR account_id = :account) AND id < :before ORDER BY id DESC LIMIT :limit"
)
_FIND_ID = text(f"SELECT {_COLUMNS} FROM document_requests WHERE id = :id")  # noqa: S608 - constants
_RETRY = text(
    "UPDATE document_requests SET state = 'waiting', fault = '', run_after = now() WHERE state = 'refused'"
    " AND account_id = :account AND (CAST(:id AS uuid) IS NULL OR id = :id)"
)
_NIL, _LAST = UUID(int=0), UUID(int=2**128 - 1)
# How the sources of payments' documents begin.
TOPUP = "topup:"


class RequestState(StrEnum):
    """What became of a request."""

    WAITING = "waiting"
    REFUSED = "refused"
    ISSUED = "issued"
    CARRIED = "carried"
    """Too small to be collected: its month is on a later invoice, or will be."""


class DocumentFacts(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a document is wanted of: a month for invoices and statements, a payment for a top-up, a document to credit.

    ``seller`` empty: the only one that there is. ``tax`` is a payment provider's decision, which goes before ours.
    What is credited is ``corrects``, or the document that the request ``corrects_source`` became; all of it, unless
    ``net_cents`` or ``line`` say a part. ``reissues``: with the credit note the month's next invoice is requested.
    """

    seller: str = ""
    period: date | None = None
    net_cents: int = 0
    tax_cents: int = 0
    tax: TaxDecision | None = None
    paid_on: date | None = None
    paid_by: str = ""
    corrects: DocumentId | None = None
    corrects_source: str = ""
    line: int = 0
    reissues: bool = False
    reason: str = ""

    @property
    def is_partial(self) -> bool:
        """Whether a part of a document is to be credited."""
        return bool(self.net_cents or self.line)


class DocumentRequest(msgspec.Struct, frozen=True):
    """A document that somebody wants.

    ``fault``: the rule that it fails, and the field, where it was refused; or why it is carried to a later one.
    """

    id: DocumentRequestId
    kind: DocumentKind
    source_ref: str
    account_id: AccountId
    facts: DocumentFacts
    state: RequestState
    fault: str
    document_id: DocumentId | None
    created_at: datetime
    created_by: str


def preview_of(kind: DocumentKind, account_id: AccountId, period: date, seller: str, now: datetime) -> DocumentRequest:
    """A request that is stored nowhere: what it would be asked for, to prepare a draft of it."""
    facts, nothing = DocumentFacts(seller=seller, period=period), DocumentRequestId(_NIL)
    return DocumentRequest(
        nothing, kind, "preview", account_id, facts, RequestState.WAITING, "", None, now, created_by=""
    )


async def request_document(
    tx: AsyncConnection, kind: DocumentKind, source_ref: str, account_id: AccountId, facts: DocumentFacts, by: str
) -> DocumentRequest:
    """Ask for a document. One fact is asked for once; asked again, a refused one is tried anew."""
    row = {"id": new_id(), "kind": kind.value, "source": source_ref, "account": account_id, "by": by}
    await tx.execute(_INSERT, {**row, "facts": msgspec.json.encode(facts).decode()})
    return request_of((await tx.execute(_FIND, {"source": source_ref})).one())


async def request_month(
    tx: AsyncConnection,
    kind: DocumentKind,
    account_id: AccountId,
    period: date,
    seller: str,
    by: str,
    *,
    after: int = 0,
) -> DocumentRequest:
    """Ask for an account's invoice or statement of a month.

    ``after`` so many were credited, it is the one that follows.
    """
    source = month_source(kind, account_id, period, seller, after)
    return await request_document(tx, kind, source, account_id, DocumentFacts(seller=seller, period=period), by)


def month_source(kind: DocumentKind, account_id: AccountId, period: date, seller: str, after: int = 0) -> str:
    """The source of the request for a month's document, ``after`` so many were credited."""
    suffix = f":{after}" if after else ""
    return f"{kind.value}:{wire(AccountId, account_id)}:{period:%Y-%m}:{seller}{suffix}"


async def issue_topup_document(
    tx: AsyncConnection,
    account_id: AccountId,
    *,
    payment_ref: str,
    net_cents: int,
    tax_cents: int,
    tax: TaxDecision | None,
    paid_on: date,
    paid_by: str,
    seller: str = "",
    by: str = "jobs:payments",
) -> DocumentRequest:
    """Ask for the tax invoice of a top-up that was paid, in the transaction that books the payment.

    ``payment_ref`` names the payment, and one payment has one document. ``paid_by`` is printed, such as "Card ending in
    4242". ``tax`` None: the table decides, and its tax must be ``tax_cents``. The payment's entry books the money and
    the tax; the document books nothing.
    """
    facts = DocumentFacts(
        seller=seller, net_cents=net_cents, tax_cents=tax_cents, tax=tax, paid_on=paid_on, paid_by=paid_by
    )
    return await request_document(tx, DocumentKind.TOPUP, topup_source(payment_ref), account_id, facts, by)


async def request_credit_note(
    tx: AsyncConnection,
    account_id: AccountId,
    document_id: DocumentId,
    reason: str,
    by: str,
    *,
    net_cents: int = 0,
    line: int = 0,
    reissues: bool = False,
) -> DocumentRequest:
    """Ask for a credit note: of a whole document, which has at most one, or of a net amount or a line of it."""
    facts = DocumentFacts(corrects=document_id, reason=reason, net_cents=net_cents, line=line, reissues=reissues)
    source = f"credit_note:{wire(DocumentId, document_id)}"
    if facts.is_partial:
        source = f"{source}:{new_id().hex}"
    return await request_document(tx, DocumentKind.CREDIT_NOTE, source, account_id, facts, by)


async def request_allowance_again(
    tx: AsyncConnection, account_id: AccountId, invoice_source: str, name: str, net_cents: int, reason: str, by: str
) -> DocumentRequest:
    """Ask for what the credit note ``name`` allowed once more, of the invoice that follows its own; once."""
    facts = DocumentFacts(corrects_source=invoice_source, net_cents=net_cents, reason=reason)
    return await request_document(tx, DocumentKind.CREDIT_NOTE, f"allowance:{name}", account_id, facts, by)


async def issue_refund_note(
    tx: AsyncConnection,
    account_id: AccountId,
    *,
    payment_ref: str,
    refund_ref: str,
    net_cents: int,
    tax_cents: int,
    paid_by: str,
    by: str = "jobs:payments",
) -> DocumentRequest:
    """Ask for the credit note of a refund of a payment's part, in the transaction that books the refund; once.

    It waits for the payment's tax invoice where that is not issued yet.
    """
    facts = DocumentFacts(
        corrects_source=topup_source(payment_ref),
        net_cents=net_cents,
        tax_cents=tax_cents,
        paid_by=paid_by,
        reason=f"refund {refund_ref}",
    )
    return await request_document(tx, DocumentKind.CREDIT_NOTE, f"refund:{refund_ref}", account_id, facts, by)


def topup_source(payment_ref: str) -> str:
    """The source of the request for a payment's tax invoice."""
    return f"{TOPUP}{payment_ref}"


async def list_requests(
    tx: AsyncConnection, *, account_id: AccountId | None = None, before: UUID | None = None, limit: int = 100
) -> list[DocumentRequest]:
    """List requests, the newest first; of one account where it is named."""
    rows = await tx.execute(_LIST, {"account": account_id, "before": before or _LAST, "limit": limit})
    return [request_of(row) for row in rows]


async def find_source(tx: AsyncConnection, source_ref: str) -> DocumentRequest | None:
    """The request of a source."""
    row = (await tx.execute(_FIND, {"source": source_ref})).one_or_none()
    return None if row is None else request_of(row)


async def find_request(tx: AsyncConnection, request_id: DocumentRequestId) -> DocumentRequest | None:
    """The request of an id."""
    row = (await tx.execute(_FIND_ID, {"id": request_id})).one_or_none()
    return None if row is None else request_of(row)


async def retry_refused(tx: AsyncConnection, account_id: AccountId, request_id: DocumentRequestId | None = None) -> int:
    """Let an account's refused requests, or one of them, be tried again; how many those are."""
    return (await tx.execute(_RETRY, {"account": account_id, "id": request_id})).rowcount


def request_of(row: object) -> DocumentRequest:
    """A request from its row."""
    columns = {name: getattr(row, name) for name in DocumentRequest.__struct_fields__}
    columns["facts"] = msgspec.json.decode(columns["facts"], type=DocumentFacts)
    return DocumentRequest(
        **{**columns, "kind": DocumentKind(columns["kind"]), "state": RequestState(columns["state"])}
    )
