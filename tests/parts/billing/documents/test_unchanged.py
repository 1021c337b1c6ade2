"""As the product's role, nothing that was issued can be changed, and no number skipped or chosen: each way is tried."""

import asyncio
from datetime import date

import asyncpg
import pytest

from billing.documents.issue import issue_waiting
from billing.documents.profiles import write_profile
from billing.documents.render import Renderer
from billing.documents.requests import issue_topup_document
from store.postgres import Database
from tests.builders.billed_month import BY, add_seller
from tests.builders.database import add_account
from tests.builders.documents import a_buyer, a_seller

REFUSED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.RestrictViolationError,
    asyncpg.SerializationError,
)
TABLES = ("sellers", "exchange_rates", "document_series", "documents", "document_files", "document_requests")
# Who works on a request may say so; what became of it stays once it was issued.
COPY = """
    INSERT INTO documents (id, seller, series, number, name, kind, account_id, period, issued_on, total_cents, facts)
    SELECT gen_random_uuid(), seller, series, {number}, 'X-' || {number}, {kind}, account_id, {period}, issued_on, 1,
        facts
    FROM documents
"""
FILES = (
    "INSERT INTO document_files SELECT {document}, {format}, 'x', 'x', sha256('x') FROM documents d ORDER BY id LIMIT 1"
)


@pytest.fixture(scope="module")
def url(module_database_url: str, renderer: Renderer) -> str:
    """A database with one issued document."""

    async def issue_one() -> None:
        db = Database(module_database_url)
        await add_seller(db, a_seller(currency="USD"))
        async with db.transaction() as tx:
            account = await add_account(tx, 0)
            await write_profile(tx, account, a_buyer(), BY)
            paid = {"payment_ref": "pi_1", "paid_on": date(2026, 10, 3), "paid_by": "Card"}
            await issue_topup_document(tx, account, net_cents=1000, tax_cents=190, tax=None, **paid)  # type: ignore[arg-type]
        assert await issue_waiting(db, renderer) == 1
        await db.close()

    asyncio.run(issue_one())
    return module_database_url


def is_refused(url: str, *statements: str) -> bool:
    async def commit() -> bool:
        db = Database(url)
        connection = await db.connect()
        try:
            async with connection.transaction():
                for statement in statements:
                    await connection.execute(statement)
        except REFUSED:
            return True
        finally:
            await connection.close()
            await db.close()
        return False

    return asyncio.run(commit())


def columns(url: str) -> list[tuple[str, str]]:
    async def fetch() -> list[tuple[str, str]]:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_name = ANY($1)", list(TABLES)
        )
        await connection.close()
        return [(row[0], row[1]) for row in rows]

    return asyncio.run(fetch())


def test_every_update_of_every_column_is_refused(url: str) -> None:
    found = columns(url)
    assert len(found) > 40
    assert [pair for pair in found if not is_refused(url, f"UPDATE {pair[0]} SET {pair[1]} = {pair[1]}")] == []


@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {}", "ALTER TABLE {} DISABLE TRIGGER ALL"])
def test_nothing_is_deleted_and_no_guard_is_taken_away(url: str, statement: str) -> None:
    filled = [table for table in TABLES if table != "exchange_rates" or "DELETE" not in statement]
    assert [table for table in filled if not is_refused(url, statement.format(table))] == []


@pytest.mark.parametrize(
    "statements",
    [
        # A number that is skipped, taken twice, chosen; one without files; one with too few.
        (COPY.format(number=3, kind="'topup'", period="NULL"),),
        (COPY.format(number=1, kind="'topup'", period="NULL"),),
        (COPY.format(number=2, kind="'topup'", period="NULL"),),
        (
            COPY.format(number=2, kind="'statement'", period="date '2026-10-01'"),
            FILES.format(document="(SELECT id FROM documents WHERE number = 2)", format="'pdf'"),
        ),
        # A period that is no month; a credit note of nothing; a file for a document that is issued.
        (COPY.format(number=2, kind="'invoice'", period="date '2026-10-02'"),),
        (COPY.format(number=2, kind="'credit_note'", period="NULL"),),
        (FILES.format(document="d.id", format="'extra'"),),
        ("INSERT INTO document_series VALUES ('acme', 'new', 41)",),
        ("UPDATE document_requests SET state = 'waiting', document_id = NULL",),
        ("INSERT INTO sellers SELECT id, version + 1, 'OTHER', facts, now(), 'x' FROM sellers",),
        ("INSERT INTO sellers SELECT 'other', 1, prefix, facts, now(), 'x' FROM sellers",),
    ],
)
def test_numbers_and_files_come_only_by_issuing(url: str, statements: tuple[str, ...]) -> None:
    assert is_refused(url, *statements)


def test_a_month_has_one_invoice_whoever_asks(url: str) -> None:
    """Two documents of one month, complete with their files: the second is refused, and takes no number."""
    files = tuple(
        FILES.format(document="(SELECT id FROM documents WHERE number = {n})", format=f"'{one}'")
        for one in ("pdf", "json", "csv")
    )

    def statement(n: int) -> tuple[str, ...]:
        copy = COPY.format(number=n, kind="'statement'", period="date '2026-10-01'") + " WHERE number = 1"
        return (copy, *(one.format(n=n) if "{n}" in one else one.replace("{n}", str(n)) for one in files))

    assert is_refused(url, *statement(2), *statement(3))
    assert not is_refused(url, *statement(2), "SET CONSTRAINTS ALL IMMEDIATE", "ROLLBACK")
