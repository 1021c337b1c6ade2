"""Stores issued documents with their files, once, and reads them. Nobody renders twice: a file is what was stored."""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import Document, DocumentKind, decode, encode
from billing.documents.files import DocumentFile
from store.ids import AccountId, DocumentId, new_id

_NEXT = text("SELECT last_number + 1 FROM document_series WHERE seller = :seller AND series = :series")
_INSERT = text("""
    INSERT INTO documents (id, seller, series, number, name, kind, account_id, period, corrects,
        partial, issued_on, total_cents, facts)
    VALUES (:id, :seller, :series, :number, :name, :kind, :account, :period, :corrects, :partial, :issued_on, :total,
        :facts)
""")
_INSERT_FILE = text(
    "INSERT INTO document_files (document_id, format, media, content, sha256)"
    " VALUES (:document, :format, :media, :content, :sha256)"
)
_COLUMNS = """d.id, d.account_id, d.issued_at, d.facts,
    (SELECT c.name FROM documents c WHERE c.corrects = d.id AND NOT c.partial) AS corrected_by,
    ARRAY(SELECT c.name FROM documents c WHERE c.corrects = d.id ORDER BY c.id) AS credit_notes,
    (SELECT c.url FROM collections c WHERE c.document_id = d.id AND c.status = 'open') AS payment_url,
    (SELECT c.status FROM collections c WHERE c.document_id = d.id) AS collection"""
_FIND = text(f"SELECT {_COLUMNS} FROM documents d WHERE d.id = :id")  # noqa: S608 - constants
_FIND_NAMED = text(f"SELECT {_COLUMNS} FROM documents d WHERE d.name = :name")  # noqa: S608 - constants
# Each filter is there or not, so that Postgres can take the index of those that are.
_LIST = f"SELECT {_COLUMNS} FROM documents d WHERE d.id < :before"  # noqa: S608 - constants
_FILTERS = {
    "account": " AND d.account_id = :account",
    "kind": " AND d.kind = :kind",
    "period": " AND d.period = :period",
    "few": " AND d.id = ANY(:few)",
    "search": " AND d.id IN (SELECT w.document_id FROM document_words w"
    " WHERE w.words @@ document_question(CAST(:search AS text)))",
}
# Of a hundred thousand documents the index of words finds a rare one in a millisecond; where more than so many have the
# words, a page of the newest is found sooner by walking from the newest on.
FEW = 2_000
_FOUND = text(
    "SELECT document_id FROM document_words WHERE words @@ document_question(CAST(:search AS text)) LIMIT :most"
)
_NEWEST = " ORDER BY d.id DESC LIMIT :limit"
_NAMES = text("SELECT id, name FROM documents WHERE id = ANY(:ids)")
_FILL_WORDS = text("SELECT fill_document_words(:most)")
_NOTES = text(f"SELECT {_COLUMNS} FROM documents d WHERE d.corrects = :id ORDER BY d.id")  # noqa: S608 - constants
_FILE = text("SELECT format, media, content, sha256 FROM document_files WHERE document_id = :id AND format = :format")
_FILES = text(
    "SELECT format, media, ''::bytea AS content, sha256 FROM document_files WHERE document_id = :id ORDER BY format"
)
_CREDITED = text(
    "SELECT count(*) FROM documents d JOIN documents c ON c.corrects = d.id AND NOT c.partial"
    " WHERE d.account_id = :account AND d.kind = :kind AND d.period = :period AND d.seller = :seller"
)
_LAST = UUID(int=2**128 - 1)


class StoredDocument(msgspec.Struct, frozen=True):
    """An issued document. ``corrected_by`` is the number of the credit note that took all of it back.

    ``credit_notes`` are the numbers of all of its credit notes, those of a part, too. ``payment_url`` is where it can
    be paid, ``collection`` how far Stripe's collecting is.
    """

    id: DocumentId
    account_id: AccountId
    issued_at: datetime
    document: Document
    corrected_by: str | None
    credit_notes: tuple[str, ...] = ()
    payment_url: str | None = None
    collection: str | None = None


async def next_number(tx: AsyncConnection, seller: str, series: str) -> int:
    """The number that the next document of a series will have, if no other comes before it."""
    return int(await tx.scalar(_NEXT, {"seller": seller, "series": series}) or 1)


async def store_document(
    tx: AsyncConnection,
    document: Document,
    account_id: AccountId,
    files: Sequence[DocumentFile],
    corrects: DocumentId | None,
) -> DocumentId:
    """Store a document and its files under its number, which the database takes.

    Raises the database's 40001 where the number is not the next one any more, and ``IntegrityError`` where the month
    has its document, or credit notes would take back more than the document has.
    """
    draft, document_id = document.draft, DocumentId(new_id())
    monthly = draft.kind in (DocumentKind.INVOICE, DocumentKind.STATEMENT)
    row = {
        "id": document_id,
        "seller": draft.seller.id,
        "series": draft.series,
        "number": document.number,
        "name": document.name,
        "kind": draft.kind.value,
        "account": account_id,
        "period": draft.period if monthly else None,
        "corrects": corrects,
        "partial": draft.is_partial,
        "issued_on": draft.issued_on,
        "total": draft.total_cents,
        "facts": encode(document),
    }
    await tx.execute(_INSERT, row)
    await tx.execute(_INSERT_FILE, [{"document": document_id, **msgspec.structs.asdict(file)} for file in files])
    return document_id


async def find_document(tx: AsyncConnection, document_id: DocumentId) -> StoredDocument | None:
    """The document of an id."""
    row = (await tx.execute(_FIND, {"id": document_id})).one_or_none()
    return None if row is None else _stored(row)


async def find_named(tx: AsyncConnection, name: str) -> StoredDocument | None:
    """The document of a number."""
    row = (await tx.execute(_FIND_NAMED, {"name": name})).one_or_none()
    return None if row is None else _stored(row)


async def read_names(tx: AsyncConnection, document_ids: Sequence[DocumentId]) -> dict[DocumentId, str]:
    """The numbers of documents, by one statement."""
    return {DocumentId(row.id): row.name for row in await tx.execute(_NAMES, {"ids": list(document_ids)})}


async def list_credit_notes(tx: AsyncConnection, document_id: DocumentId) -> list[StoredDocument]:
    """The credit notes of a document, the oldest first."""
    return [_stored(row) for row in await tx.execute(_NOTES, {"id": document_id})]


async def list_documents(
    tx: AsyncConnection,
    *,
    account_id: AccountId | None = None,
    kind: DocumentKind | None = None,
    period: date | None = None,
    search: str | None = None,
    before: UUID | None = None,
    limit: int = 100,
) -> list[StoredDocument]:
    """List issued documents, the newest first; of one account, kind or month where it is named.

    ``search`` are words that begin words of its number, of the customer's name or of their order number, or a total.
    """
    which: dict[str, object] = {"account": account_id, "kind": kind and kind.value, "period": period}
    if search is not None:
        found = list(await tx.scalars(_FOUND, {"search": search, "most": FEW + 1}))
        which |= {"few": found} if len(found) <= FEW else {"search": search}
    filters = {name: value for name, value in which.items() if value is not None}
    query = _LIST + "".join(_FILTERS[name] for name in filters) + _NEWEST
    rows = await tx.execute(text(query), {**filters, "before": before or _LAST, "limit": limit})
    return [_stored(row) for row in rows]


async def fill_words(tx: AsyncConnection, most: int) -> int:
    """Have documents of earlier releases found by their words, so many at a time; returns how many."""
    return int(await tx.scalar(_FILL_WORDS, {"most": most}) or 0)


async def read_file(tx: AsyncConnection, document_id: DocumentId, format: str) -> DocumentFile | None:
    """A file as it was stored."""
    row = (await tx.execute(_FILE, {"id": document_id, "format": format})).one_or_none()
    return None if row is None else DocumentFile(*row)


async def list_files(tx: AsyncConnection, document_id: DocumentId) -> list[DocumentFile]:
    """A document's files with their hashes and without their content."""
    return [DocumentFile(*row) for row in await tx.execute(_FILES, {"id": document_id})]


async def count_credited(
    tx: AsyncConnection, account_id: AccountId, kind: DocumentKind, period: date, seller: str
) -> int:
    """How many documents of an account, kind and month were taken back."""
    which = {"account": account_id, "kind": kind.value, "period": period, "seller": seller}
    return int(await tx.scalar(_CREDITED, which) or 0)


_PLAIN = ("id", "account_id", "issued_at", "corrected_by", "payment_url", "collection")


def _stored(row: object) -> StoredDocument:
    columns = {name: getattr(row, name) for name in _PLAIN}
    notes = tuple(getattr(row, "credit_notes"))  # noqa: B009
    return StoredDocument(document=decode(getattr(row, "facts")), credit_notes=notes, **columns)  # noqa: B009
