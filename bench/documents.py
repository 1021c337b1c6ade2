"""Measures documents: ``python -m bench.documents 1_000_000 100_000``: events of a month of 1,000 accounts, and of one.

Pages and invoices per second of one core; a month of all accounts rated, rooted and invoiced, with all their files; the
last account's invoice issued and verified. Events are generated in SQL by the database's owner, with triggers off; a
line of credit paid for them.
"""

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable
from datetime import date
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import asyncpg
import psutil
from sqlalchemy import text

from billing.documents.document import Document, DocumentKind, Draft, LineUsage, due_on, with_totals
from billing.documents.file_renderer import FileRenderer
from billing.documents.issue import issue_waiting
from billing.documents.parties import Address, BillingProfile, Seller
from billing.documents.pdf import PdfRenderer
from billing.documents.profiles import write_profile, write_seller
from billing.documents.render import Renderer
from billing.documents.requests import request_month
from billing.documents.store import list_documents
from billing.documents.tax import decide_tax
from billing.documents.verify import verify
from gigarouter.schema import migrate
from store.embedded import Embedded
from store.ids import AccountId
from store.postgres import Database

T = TypeVar("T")
ACCOUNTS, PAGES, MONTH = 1_000, 50, date(2026, 1, 1)
SELLER = Seller(
    id="acme",
    prefix="ACME",
    legal_name="Acme Vectors GmbH",
    address=Address("Torstraße 1", "Berlin", "DE", postcode="10119"),
    vat_id="DE136695976",
    currency="USD",
)
BUYER = BillingProfile(legal_name="Customer AG", address=Address("Main Street 1", "Town", "DE", postcode="12345"))
# The last account has so many events more than the others; each of five models has its price.
_MAKE = f"""
    SET session_replication_role = replica;
    SELECT make_usage_months('{MONTH}', 1);
    INSERT INTO accounts (id, name) SELECT md5('a' || n)::uuid, 'account ' || n FROM generate_series(0, {ACCOUNTS}) n;
    INSERT INTO prices (id, model_id, nano_per_mtok, effective_at)
    SELECT md5('p' || n)::uuid, 'acme/m' || n, 8000000 + n, '2020-01-01' FROM generate_series(0, 4) n;
"""
_EVENTS = f"""
    INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
        inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, provider_cost_nano, version,
        entry_id, latency_ms, attempts, promotional_nano, goodwill_nano, held_nano)
    SELECT md5('r' || $2 || n)::uuid, timestamptz '{MONTH} 00:00Z' + n * interval '1 ms', account, account,
        'acme/m' || m, account, account, 's', 1, t, md5('p' || m)::uuid, 8000000 + m,
        (t * (8000000 + m) + 999999) / 1000000, (t * (8000000 + m) + 999999) / 1000000, 0, 0, 1, account, 1, 1, 0, 0,
        (t * (8000000 + m) + 999999) / 1000000
    FROM (
        SELECT n, n % 5 AS m, 100 + n % 900 AS t,
            md5('a' || CASE WHEN $2 THEN {ACCOUNTS} ELSE n % {ACCOUNTS} END)::uuid AS account
        FROM generate_series(1, $1::bigint) n
    ) x
"""
_ENTRY = "overlay(md5('e' || {id})::uuid::text PLACING left(first_id_at(now())::text, 14) FROM 1)::uuid"
# Each account's line paid for its calls, and what it drew is unbilled.
_LINE = f"""
    INSERT INTO grants (id, account_id, kind, amount_nano, remaining_nano, source_ref)
    SELECT md5('g' || id)::uuid, id, 'line', 1, 1, 'bench:' || id FROM accounts;
    INSERT INTO entries (id, kind, source_ref, account_id, period)
    SELECT {_ENTRY.format(id="id")}, 'usage', 'bench:' || id, id, '{MONTH}' FROM accounts;
    INSERT INTO grant_uses SELECT {_ENTRY.format(id="account_id")}, md5('g' || account_id)::uuid, sum(charged_nano)
    FROM usage_events GROUP BY account_id;
    INSERT INTO ledger_accounts (id, kind, account_id, posted_nano, version)
    SELECT md5('u' || id)::uuid, 'customer_unbilled', id, NULL, 0 FROM accounts;
    INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)
    SELECT {_ENTRY.format(id="account_id")}, 1, md5('u' || account_id)::uuid, -sum(charged_nano), NULL
    FROM usage_events GROUP BY account_id;
    ANALYZE usage_events;
"""


async def timed(what: str, work: Awaitable[T]) -> T:
    """Say how long it took."""
    began = time.perf_counter()
    done = await work
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)
    return done


def invoice(number: int) -> Document:
    """One of five lines, unlike any other: typst remembers what it laid out."""
    usages = [
        LineUsage(f"acme/m{number}-{n}", "interactive", 8_000_000, 9, 10**9 + 31 * number + n, 0, 0, "00" * 32)
        for n in range(5)
    ]
    draft = Draft(
        kind=DocumentKind.INVOICE,
        account="acct_0",
        seller=SELLER,
        buyer=BUYER,
        issued_on=date(2026, 2, 1),
        since=MONTH,
        until=date(2026, 1, 31),
        lines=(),
        tax=decide_tax(SELLER, BUYER, MONTH),
        due_on=due_on(BUYER, MONTH),
    )
    amounts = [(f"Embeddings with {one.model}", one.tokens * one.nano_per_mtok // 1_000_000, one) for one in usages]
    return Document(number=number, draft=with_totals(draft, [*amounts], []))


def pages() -> None:
    """PDF, and PDF with both forms of XML, checked and embedded, per second of one core."""
    pdf, whole = PdfRenderer(), FileRenderer()
    whole.render(invoice(0))
    for what, render in (("PDF", pdf.render), ("PDF, UBL, Factur-X, checked", whole.render)):
        began = time.process_time()
        for number in range(1, PAGES + 1):
            render(invoice(number))
        print(f"{what}: {PAGES / (time.process_time() - began):.0f} a second of this process")
    whole.close()


async def fill(url: str, events: int, of_one: int) -> tuple[list[AccountId], AccountId]:
    """Make the month: its accounts, each with a line of credit that paid; and the one with events of its own."""
    owner = await asyncpg.connect(url)
    await owner.execute("SET statement_timeout = 0")
    await owner.execute(_MAKE)
    await owner.fetch(_EVENTS, events, False)
    await owner.fetch(_EVENTS, of_one, True)
    await owner.execute(_LINE)
    rows = await owner.fetch("SELECT id FROM accounts WHERE name LIKE 'account %' ORDER BY name")
    last = AccountId(UUID(str(await owner.fetchval(f"SELECT md5('a{ACCOUNTS}')::uuid"))))
    await owner.close()
    return [account for row in rows if (account := AccountId(UUID(str(row[0])))) != last], last


async def request_invoices(db: Database, accounts: list[AccountId]) -> None:
    """Ask for the invoice of each account's month."""
    async with db.transaction() as tx:
        await write_seller(tx, SELLER, "bench")
        for account in accounts:
            await write_profile(tx, account, BUYER, "bench")
            await request_month(tx, DocumentKind.INVOICE, account, MONTH, "acme", "bench")


async def month(url: str, events: int, of_one: int) -> None:
    """Rate, root and invoice the month of every account; issue and verify the invoice of the last."""
    accounts, last = await fill(url, events, of_one)
    db, renderer = Database(url), Renderer()

    async def check() -> None:
        async with db.transaction() as tx:
            [stored] = await list_documents(tx, account_id=last)
            faults = (await verify(tx, stored)).faults
        assert faults == (), faults

    await request_invoices(db, accounts)
    issuing = issue_waiting(db, renderer, at_most=ACCOUNTS)
    count = await timed(f"{events:,} events of {ACCOUNTS:,} accounts rated, rooted, invoiced and stored", issuing)
    tell_use()
    async with db.transaction() as tx:
        issued = await tx.scalar(text("SELECT count(*) FROM documents"))
    assert (count, issued) == (ACCOUNTS, ACCOUNTS)
    await request_invoices(db, [last])
    await timed(f"an invoice of {of_one:,} events issued", issue_waiting(db, renderer))
    await timed(f"an invoice of {of_one:,} events verified", check())
    tell_use()
    renderer.close()
    await db.close()


def tell_use() -> None:
    """The CPU time and the most memory of this process, and of those that render and check."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    told = [f"this process: {own.ru_utime + own.ru_stime:.1f} s of CPU, {own.ru_maxrss // 1024} MiB"]
    for process in psutil.Process().children(recursive=True):
        for module, what in (("render_process", "rendering"), ("check_process", "checking")):
            if any(module in part for part in process.cmdline()):
                status = Path(f"/proc/{process.pid}/status").read_text()
                [peak] = [int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")]
                told.append(f"{what}: {sum(process.cpu_times()[:2]):.1f} s, {peak} MiB")
    print("; ".join(told))


def main() -> None:
    """Run all of it on a database of its own."""
    events, of_one = (int(text) for text in sys.argv[1:] or ("100_000", "100_000"))
    with tempfile.TemporaryDirectory() as folder, Embedded(Path(folder)) as servers:
        servers.postgres.ensure_database("bench")
        migrate(servers.postgres.url("bench"))
        asyncio.run(month(servers.postgres.url("bench"), events, of_one))
    pages()


if __name__ == "__main__":
    main()
