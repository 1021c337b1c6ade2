"""Documents are found by what people remember of them, newest first; a cursor stays right while others are issued."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from billing.documents.document import DocumentKind, encode
from billing.documents.store import fill_words, list_documents
from store.ids import AccountId, new_id
from store.postgres import Database
from tests.builders.database import add_account
from tests.builders.documents import MONTH, a_buyer, a_document, an_invoice_draft

pytestmark = pytest.mark.anyio

# Who pays, and what they remember besides the name.
BUYERS = (
    ("Müller & Söhne GmbH", "PO-77"),
    ("株式会社日立製作所", "発注-12"),
    ("O'Brien \\ Partners", "4500-001"),
    ("شركة المثال", ""),
    ("Ёлка", "=1+1"),
)
MANY = 400


@pytest.fixture(scope="module")
def accounts(module_database_url: str) -> list[AccountId]:
    """An account each for the buyers with one invoice, whose numbers are 1 to 5, and one more with many later ones."""
    return asyncio.run(fill(module_database_url, MANY))


async def fill(url: str, many: int) -> list[AccountId]:
    db, owner = Database(url), await asyncpg.connect(url)
    async with db.transaction() as tx:
        known = [await add_account(tx, 0, name) for name, _ in BUYERS] + [await add_account(tx, 0, "Many")]
    drafts = [an_invoice_draft(buyer=a_buyer(legal_name=name, po_number=po)) for name, po in BUYERS]
    base = an_invoice_draft(buyer=a_buyer(legal_name="Many Corp", po_number="M-1"))
    rows = [_row(a_document(draft, number + 1), known[number]) for number, draft in enumerate(drafts)]
    rows += [_row(a_document(base, number + 101), known[-1]) for number in range(many)]
    # As a release before this one wrote them: nobody noted their words.
    await owner.execute("SET session_replication_role = replica")
    await owner.executemany(
        "INSERT INTO documents (id, seller, series, number, name, kind, account_id, period, issued_on, total_cents,"
        " facts) VALUES ($1, 'acme', $2, $3, $4, 'invoice', $5, $6, $7, $8, $9)",
        rows,
    )
    async with db.transaction() as tx:
        assert await fill_words(tx, 3) == 3
    for _ in range(many // 2_000 + 2):
        async with db.transaction() as tx:
            await fill_words(tx, 2_000)
    await owner.execute("ANALYZE documents, document_words")
    await owner.close()
    await db.close()
    return known


def _row(document: Any, account: AccountId) -> tuple[object, ...]:
    draft = document.draft
    facts = (draft.series, document.number, document.name, account, draft.period, draft.issued_on, draft.total_cents)
    return (new_id(), *facts, encode(document))


async def names(db: Database, **which: Any) -> list[str]:
    async with db.transaction() as tx:
        return [one.document.draft.buyer.legal_name for one in await list_documents(tx, **which)]


@pytest.mark.parametrize(
    ("search", "buyer"),
    [
        *(("müll", 0), ("MULLER", 0), ("sohne gmbh", 0), ("po-77", 0), ("PO 77 müller", 0)),
        *(("日立", 1), ("株式会社", 1), ("発注-12", 1), ("製作所 発注", 1)),
        *(("o'brien", 2), ("brien \\ partn", 2), ("4500", 2), ("المثال", 3), ("елка", 4), ("=1+1 ёлка", 4)),
        *(("000002", 1), ("INV-2026-000003", 2)),
    ],
)
async def test_a_document_is_found_by_what_is_remembered(
    module_database_url: str, accounts: list[AccountId], search: str, buyer: int
) -> None:
    db = Database(module_database_url)
    found = set(await names(db, search=search, limit=50))
    assert BUYERS[buyer][0] in found, found
    assert found - {"Many Corp"} == {BUYERS[buyer][0]}
    assert await names(db, search=search, account_id=accounts[buyer]) == [BUYERS[buyer][0]]
    await db.close()


@pytest.mark.parametrize("search", ["'", "!!!", "' | '", "q:* & z", "\\", "x" * 200, "ller", "müller 999", "%", "\t\n"])
async def test_what_nothing_is_found_by_is_no_fault(
    module_database_url: str, accounts: list[AccountId], search: str
) -> None:
    db = Database(module_database_url)
    assert await names(db, search=search) == []
    await db.close()


async def test_a_total_is_found_as_it_is_written(module_database_url: str, accounts: list[AccountId]) -> None:
    db = Database(module_database_url)
    async with db.transaction() as tx:
        [newest] = await list_documents(tx, limit=1)
        cents = newest.document.draft.total_cents
        for text in (f"{cents / 100:.2f}", f"{cents / 100:,.2f}"):
            assert len(await list_documents(tx, search=text, account_id=accounts[0])) == 1
            assert await list_documents(tx, search=f"{cents / 100 + 1:.2f}", account_id=accounts[0]) == []
    await db.close()


async def test_pages_go_from_the_newest_and_stay_right_while_others_are_issued(
    module_database_url: str, accounts: list[AccountId]
) -> None:
    db, owner = Database(module_database_url), await asyncpg.connect(module_database_url)
    await owner.execute("SET session_replication_role = replica")
    seen: list[int] = []
    before = None
    async with db.transaction() as tx:
        while page := await list_documents(tx, account_id=accounts[-1], before=before, limit=90):
            seen += [one.document.number for one in page]
            before = page[-1].id
            if len(seen) == 90:
                await owner.execute(
                    "INSERT INTO documents (id, seller, series, number, name, kind, account_id, issued_on, total_cents,"
                    " facts) SELECT $1, seller, series, 9999, 'late', kind, account_id, issued_on, total_cents, facts"
                    " FROM documents WHERE account_id = $2 LIMIT 1",
                    new_id(),
                    accounts[-1],
                )
    assert seen == sorted(range(101, 101 + MANY), reverse=True)
    async with db.transaction() as tx:
        kind, other = DocumentKind.INVOICE, DocumentKind.STATEMENT
        assert len(await list_documents(tx, kind=kind, period=MONTH, search="many", limit=10)) == 10
        assert await list_documents(tx, kind=other, search="many") == []
    await owner.close()
    await db.close()


async def test_filters_and_search_take_indexes(module_database_url: str, accounts: list[AccountId]) -> None:
    owner = await asyncpg.connect(module_database_url)
    await owner.execute("SET enable_seqscan = off")
    plan = await owner.fetchval(
        "EXPLAIN (FORMAT JSON) SELECT document_id FROM document_words WHERE words @@ document_question('müller 77')"
    )
    assert "document_words_words" in json.dumps(plan)
    await owner.close()
