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
_LIST = text(
    f"SELECT {_COLUMNS} FROM documents d"  # noqa: S608 - constants
    " WHERE (CAST(:account AS uuid) IS NULL OR d.account_id = :account)"
    " AND (CAST(:kind AS text) IS NULL OR d.kind = :kind) AND d.id > :after ORDER BY d.id LIMIT :limit"
)
_NOTES = text(f"SELECT {_COLUMNS} FROM documents d WHERE d.corrects = :id ORDER BY d.id")  # noqa: S608 - constants
_FILE = text("SELECT format, media, content, sha256 FROM document_files WHERE document_id = :id AND format = :format")
_FILES = text(
    "SELECT format, media, ''::bytea AS content, sha256 FROM document_files WHERE document_id = :id ORDER BY format"
)
_CREDITED = text(
    "SELECT count(*) FROM documents d JOIN documents c ON c.corrects = d.id AND NOT c.partial"
    " WHERE d.account_id = :account AND d.kind = :kind AND d.period = :period AND d.seller = :seller"
)
_NIL = UUID(int=0)


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


async def list_credit_notes(tx: AsyncConnection, document_id: DocumentId) -> list[StoredDocument]:
    """The credit notes of a document, the oldest first."""
    return [_stored(row) for row in await tx.execute(_NOTES, {"id": document_id})]


async def list_documents(
    tx: AsyncConnection,
    *,
    account_id: AccountId | None = None,
    kind: DocumentKind | None = None,
    after: UUID | None = None,
    limit: int = 100,
) -> list[StoredDocument]:
    """List issued documents, the oldest first; of one account or kind where it is named."""
    which = {"account": account_id, "kind": kind and kind.value, "after": after or _NIL, "limit": limit}
    rows = await tx.execute(_LIST, which)
    return [_stored(row) for row in rows]


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
