"""Computes an issued document again from usage and prices, and proves that a call is in it.

Nothing is written. What differs is said by line; a document whose month has late calls differs, which is right.
"""

from datetime import date
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.balances import read_statement
from billing.documents.credit_notes import left_of
from billing.documents.document import Document, DocumentKind, Draft, Line, LineUsage, encode, month_bounds
from billing.documents.faults import DocumentRefused
from billing.documents.receipts import Proof
from billing.documents.rounding import NANO_PER_CENT
from billing.documents.store import StoredDocument, find_named, list_credit_notes
from billing.documents.totals import total_faults
from billing.documents.usage_lines import CallLeaf, MeasuredLine, find_leaf, measure_lines, measure_path
from store.ids import AccountId, RequestId

_FILES = text(
    "SELECT format, sha256(content) = sha256 AS whole, CASE format WHEN 'json' THEN content END AS json"
    " FROM document_files WHERE document_id = :id ORDER BY format"
)
# Calls whose price is not one that was set: of their model, in force when they were admitted, or its batch price.
_WRONG_PRICES = text("""
    SELECT count(*) FROM usage_events u LEFT JOIN charged_prices p ON p.id = u.price_id AND p.model_id = u.model_id
        AND p.effective_at <= u.occurred_at AND coalesce(p.account_id, u.account_id) = u.account_id
    WHERE u.account_id = :account AND u.occurred_at >= :since AND u.occurred_at < :until AND u.nano_per_mtok > 0
        AND (p.id IS NULL OR u.nano_per_mtok NOT IN (p.nano_per_mtok, coalesce(p.batch_nano_per_mtok, p.nano_per_mtok)))
""")
_RECEIVABLE = text("""
    SELECT coalesce(-sum(p.amount_nano), 0)::bigint FROM booked_facts f JOIN postings p ON p.entry_id = f.entry_id
        JOIN ledger_accounts l ON l.id = p.ledger_account_id
    WHERE f.source_ref = :source AND l.kind = 'customer_receivable'
""")


class Verification(msgspec.Struct, frozen=True):
    """What verifying a document found; nothing is wrong where there are no faults."""

    document: str
    lines: int
    calls: int
    faults: tuple[str, ...]


async def verify(tx: AsyncConnection, stored: StoredDocument) -> Verification:
    """Compare a document with its files, with itself, and with usage, prices and ledger as they are now."""
    document = stored.document
    faults = [*await _file_faults(tx, stored.id, document), *total_faults(document)]
    origin = document
    if document.draft.corrects is not None:
        original = await find_named(tx, document.draft.corrects.name)
        if original is None or not (document.draft.is_share or original.document.draft.lines == document.draft.lines):
            faults.append(f"its lines are not those of {document.draft.corrects.name}, which it takes back")
        origin = original.document if original else document
    if stored.credit_notes:
        faults += await _credit_faults(tx, stored)
    if not document.draft.is_share and origin.draft.kind in (DocumentKind.INVOICE, DocumentKind.STATEMENT):
        for month in origin.draft.months:
            measured = await measure_lines(tx, stored.account_id, month)
            faults += line_faults(document, measured, month)
            if wrong := await tx.scalar(_WRONG_PRICES, _span(stored.account_id, month)):
                faults.append(f"{wrong} calls were charged another price than was in force")
    faults += await _ledger_faults(tx, document, origin)
    faults += await _statement_faults(tx, stored)
    calls = sum(line.usage.calls for line in document.draft.lines if line.usage)
    return Verification(document.name, len(document.draft.lines), calls, tuple(faults))


async def prove(tx: AsyncConnection, stored: StoredDocument, request_id: RequestId) -> Proof | None:
    """The proof that a call is in the document; None where it is not, or cost nothing."""
    draft = stored.document.draft
    for month in draft.months:
        leaf = await find_leaf(tx, stored.account_id, month, request_id)
        if leaf is not None:
            return await _proof(tx, stored, leaf, month)
    return None


async def _proof(tx: AsyncConnection, stored: StoredDocument, leaf: CallLeaf, month: date) -> Proof | None:
    draft, group = stored.document.draft, (leaf.model, leaf.lane, leaf.nano_per_mtok)
    for number, line in enumerate(draft.lines, start=1):
        usage = line.usage
        if usage is not None and _is_of(usage, draft, month) and group == _group_of(usage):
            path = tuple(one.hex() for one in await measure_path(tx, stored.account_id, month, leaf))
            return Proof(stored.document.name, number, leaf.leaf, leaf.index, usage.calls, path, usage.root)
    return None


def line_faults(document: Document, measured: list[MeasuredLine], month: date) -> list[str]:
    """How a document's lines of a month differ from usage: sums, roots, lines that are missing or too many."""
    found = {_group_of(one.usage): one for one in measured}
    faults = []
    for number, line in enumerate(document.draft.lines, start=1):
        if line.usage is None or not _is_of(line.usage, document.draft, month):
            continue
        now = found.pop(_group_of(line.usage), None)
        if now is None:
            faults.append(f"line {number}: usage has no such calls")
        else:
            faults += [f"line {number}: {fault}" for fault in _differences(line, now)]
    faults += [f"usage has {one.usage.calls} calls of {one.usage.model} that are on no line" for one in found.values()]
    return faults


async def _credit_faults(tx: AsyncConnection, stored: StoredDocument) -> list[str]:
    """Credit notes take back no more than the document has."""
    net, tax = left_of(stored.document, [one.document for one in await list_credit_notes(tx, stored.id)])
    return [f"its credit notes exceed it by {-min(net, tax)} cents"] if min(net, tax) < 0 else []


async def _file_faults(tx: AsyncConnection, document_id: UUID, document: Document) -> list[str]:
    faults = []
    for row in await tx.execute(_FILES, {"id": document_id}):
        if not row.whole:
            faults.append(f"the file {row.format} is not what was hashed")
        if row.format == "json" and row.json != encode(document):
            faults.append("the file json is not the document")
    return faults


async def _ledger_faults(tx: AsyncConnection, document: Document, origin: Document) -> list[str]:
    """An invoice's receivable is its total, its credit note's takes that back; top-ups and statements have none."""
    if origin.draft.kind is not DocumentKind.INVOICE:
        return []
    sign = -1 if document.draft.kind is DocumentKind.CREDIT_NOTE else 1
    booked = int(await tx.scalar(_RECEIVABLE, {"source": f"document:{document.name}"}) or 0)
    total = sign * document.draft.total_cents * NANO_PER_CENT
    return [] if booked == total else [f"its entry is a receivable of {booked}, its total is {total}"]


async def _statement_faults(tx: AsyncConnection, stored: StoredDocument) -> list[str]:
    """A statement's opening, movements and closing are the ledger's; entries of its month may have come since."""
    draft = stored.document.draft
    if draft.statement is None:
        return []
    try:
        used = [(line.description, line.amount_nano) for line in draft.lines]
        now = await read_statement(tx, stored.account_id, draft.period, used)
    except DocumentRefused as fault:
        return [str(fault)]
    if now == draft.statement:
        return []
    was = draft.statement
    return [
        f"opening, movements and closing were {was.opening_nano}, {len(was.movements)}, {was.closing_nano},"
        f" the ledger has {now.opening_nano}, {len(now.movements)}, {now.closing_nano}"
    ]


def _differences(line: Line, now: MeasuredLine) -> list[str]:
    assert line.usage is not None, "only lines of usage are compared; this is a bug"
    was = {**msgspec.structs.asdict(line.usage), "amount_nano": line.amount_nano}
    found = {**msgspec.structs.asdict(now.usage), "amount_nano": now.amount_nano}
    names = [name for name in was if name != "month"]
    return [f"{name} was {was[name]}, usage has {found[name]}" for name in names if was[name] != found[name]]


def _group_of(usage: LineUsage) -> tuple[str, str, int]:
    return usage.model, usage.lane, usage.nano_per_mtok


def _is_of(usage: LineUsage, draft: Draft, month: date) -> bool:
    """Whether a line is of a month; one that names none is of the document's only one."""
    return month == (draft.period if usage.month is msgspec.UNSET else usage.month)


def _span(account_id: AccountId, period: date) -> dict[str, object]:
    since, until = month_bounds(period)
    return {"account": account_id, "since": since, "until": until}
