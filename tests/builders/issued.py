"""Issues documents of a billed month, and reads what was issued."""

from sqlalchemy import text

from billing.documents.document import DocumentKind
from billing.documents.issue import issue_waiting
from billing.documents.render import Renderer
from billing.documents.requests import DocumentRequest, list_requests, request_month
from billing.documents.store import StoredDocument, list_documents
from billing.ledger import trial_balance
from billing.receivables import list_receivables
from store.ids import AccountId
from tests.builders.billed_month import BY, last_month
from tests.builders.billing import Billing


async def invoice_of(
    b: Billing, renderer: Renderer, account: AccountId, kind: DocumentKind = DocumentKind.INVOICE, after: int = 0
) -> StoredDocument:
    async with b.db.transaction() as tx:
        await request_month(tx, kind, account, last_month(), "acme", BY, after=after)
    await issue_waiting(b.db, renderer)
    return (await documents_of(b, account))[-1]


async def documents_of(b: Billing, account: AccountId) -> list[StoredDocument]:
    """An account's documents, the oldest first."""
    async with b.db.transaction() as tx:
        return (await list_documents(tx, account_id=account))[::-1]


async def request_of(b: Billing, account: AccountId) -> DocumentRequest:
    async with b.db.transaction() as tx:
        return (await list_requests(tx, account_id=account))[0]


async def balances(b: Billing) -> dict[str, int]:
    async with b.db.transaction() as tx:
        return {line.kind: line.amount for line in await trial_balance(tx) if line.amount}


async def assert_no_gaps(b: Billing) -> None:
    async with b.db.transaction() as tx:
        rows = await tx.execute(text("SELECT series, max(number), count(*) FROM documents GROUP BY series"))
        assert all(highest == documents for _, highest, documents in rows)


async def assert_receivables_are_the_ledgers(b: Billing) -> None:
    """What is open of all invoices is what customers owe by the ledger, whatever was paid, credited or written off."""
    async with b.db.transaction() as tx:
        still_open = sum(one.open for one in await list_receivables(tx))
    assert still_open == -(await balances(b)).get("customer_receivable", 0)
