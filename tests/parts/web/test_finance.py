"""Finance looks at the books, closes a month, explains a difference, has documents and exports, as ops may read."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from billing import books
from billing.chart import LedgerKind
from billing.close.finish import advance
from billing.documents.render import Renderer
from billing.exports import run
from billing.ledger import Posting, post
from billing.money import NanoUSD
from billing.receivables import get_receivable, record_movement
from billing.reconciliation.differences import record_found
from billing.reconciliation.values import Found, Kind
from gigarouter.settings import Settings
from router.identity.members import Role
from store.embedded import Embedded
from store.ids import ReceivableId, parse
from store.postgres import Database
from tests.builders.billed_month import add_seller, an_account_with_a_month, last_month, make_month
from tests.builders.billing import billing
from tests.builders.closing_month import check_books
from tests.builders.database import DatabaseBuilder
from tests.builders.issued import invoice_of
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, form_of, words_of

pytestmark = pytest.mark.anyio

MONTH = f"{last_month():%Y-%m}"
# Lists that nothing in this module has rows for.
EMPTY = ("reconciliations", "reviews", "disputes", "refunds", "payments")


@pytest.fixture(scope="module")
def settings(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings.model_copy(update={"exports_dir": tmp_path_factory.mktemp("exports")})


@pytest.fixture(scope="module")
def invoice(build: DatabaseBuilder, servers: Embedded, renderer: Renderer) -> str:
    """The number of an invoice of last month, whose books were checked: one thing is wrong with them."""

    async def issue() -> str:
        servers.redis.command("FLUSHALL")
        async with billing(build.url, servers.redis_url) as b:
            await make_month(b.db)
            await add_seller(b.db)
            account = await an_account_with_a_month(b, [30_000_003, 20_000_007], line=10**9)
            await check_books(b)
            async with b.db.transaction() as tx:
                await books.record(tx, [books.Finding(books.Check.HOLDS_NOT_OVERDUE, 2, "two of them")])
            stored = await invoice_of(b, renderer, account)
            return stored.document.name

    return asyncio.run(issue())


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def difference(build: DatabaseBuilder) -> str:
    """The first of two things that differ from Stripe; the other stays in the queue."""
    names, message = ("txn_1", "txn_2<b>"), "Stripe has it, the ledger does not."
    found = [Found(Kind.NOT_BOOKED, name, NanoUSD(12_340_000_000), message) for name in names]

    async def record() -> None:
        db = Database(build.url)
        async with db.transaction() as tx:
            await record_found(tx, "stripe", found)
        await db.close()

    asyncio.run(record())
    return names[0]


@pytest.fixture
def finance(pages: Pages) -> Reader:
    return Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now), "fred"))


@pytest.fixture
def ops(pages: Pages) -> Reader:
    return Reader(pages.reader(an_operator(Role.OPS, now=pages.now), "olga"))


async def test_an_empty_list_says_what_to_do_next(ops: Reader) -> None:
    for name in EMPTY:
        page = await ops.open(f"/finance/{name}")
        assert '<div class="empty">' in page.text, name
        assert 'class="button"' in page.text.partition('<div class="empty">')[2], name
    assert "No row fits" in words_of(await ops.open("/finance/documents?kind=statement"))
    wrong = await ops.open("/finance/documents?account=nobody", status=404)
    assert "There is no account" in words_of(wrong)


async def test_the_overview_says_what_needs_a_person_in_few_statements(
    pages: Pages, ops: Reader, difference: str, invoice: str
) -> None:
    with pages.counted() as statements:
        page = await ops.open("/finance")
    seen = words_of(page)
    assert difference
    assert "Difference txn_2<b>" in seen
    assert "12.34 USD: Stripe has it" in seen
    assert "<b>" not in page.text
    assert re.search(r"Check holds_not_overdue \S+ \S+ UTC two of them", seen)
    assert "sum_zero" not in seen
    assert invoice
    assert len([one for one in statements if "set_config" not in one]) <= 6


async def test_a_check_of_the_books_leads_to_what_to_do(ops: Reader, invoice: str) -> None:
    page = await ops.open("/finance/books")
    seen = words_of(page)
    assert "sum_zero ✓ ok 0" in seen
    assert re.search(r"What to do holds_not_overdue ✕ failed 2 .* ago two of them", seen)
    assert "SHA-256" in seen
    assert invoice
    manual = await ops.open("/finance/manual/ledger")
    assert 'id="checks-and-what-to-do"' in manual.text
    # A column of numbers in Markdown is aligned by a class, since the policy blocks inline styles.
    assert "style=" not in manual.text
    assert '<td class="number">' in manual.text
    assert 'href="/finance/manual/ledger#checks-and-what-to-do"' in page.text
    await ops.open("/finance/manual/nothing", status=404)


async def test_a_document_is_found_with_its_lines_verified_and_credited_after_a_dry_run(
    finance: Reader, ops: Reader, invoice: str
) -> None:
    assert invoice in words_of(await ops.open("/finance/documents?kind=invoice"))
    searched = await ops.open(f"/finance/documents?search={invoice.lower()}+custom&kind=invoice&period={MONTH}")
    assert invoice in words_of(searched)
    assert "No row fits" in words_of(await ops.open("/finance/documents?search=nobody"))
    wrong = await ops.open("/finance/documents?period=2026-13", status=400)
    assert 'id="e-period"' in wrong.text
    page = await ops.open(f"/finance/documents/find?number={invoice}")
    assert page.url.path == f"/finance/documents/{invoice}"
    seen = words_of(page)
    assert "Net, USD 0.05" in seen
    assert "0.05000001" in seen
    file = await ops.client.get(f"/finance/documents/{invoice}/files/pdf")
    assert file.content.startswith(b"%PDF")
    verified = words_of(await ops.open(f"/finance/documents/{invoice}/verification"))
    assert f"{invoice} is right" in verified
    assert "Calls read 2" in verified

    await ops.open(f"/finance/documents/{invoice}/void", status=403)
    mailed = await finance.send(
        await finance.open(f"/finance/documents/{invoice}/send"), emails="ap@x.example, b@x.example"
    )
    assert "Mail to none ap@x.example, b@x.example" in words_of(mailed)
    refused = await finance.send(await finance.open(f"/finance/documents/{invoice}/credit"), status=400, amount_usd="x")
    assert form_of(refused).fields["amount_usd"] == "x"
    form = await finance.open(f"/finance/documents/{invoice}/void")
    assert form_of(form).fields["reissue"] == "1"
    proposed = await finance.send(form, reason="The wrong month.")
    assert form_of(proposed).button == f"Void {invoice}"
    assert "Order none credit note of it, waiting" in words_of(proposed)
    assert "credit note" not in words_of(await ops.open("/finance/document-requests"))
    assert "It is done" in words_of(await finance.confirm(proposed))
    assert "credit note" in words_of(await ops.open("/finance/document-requests"))


async def test_a_month_is_closed_by_its_checklist(pages: Pages, finance: Reader, ops: Reader, invoice: str) -> None:
    base = f"/finance/close/{MONTH}"
    assert "made when the close is started" in words_of(await ops.open(base))
    await ops.open(f"{base}/start", status=403)
    proposed = await finance.send(await finance.open(f"{base}/start"))
    assert form_of(proposed).button == f"Start to close {MONTH}"
    assert "State open closing" in words_of(proposed)
    assert "State · closing" in words_of(await finance.confirm(proposed))
    await advance(pages.context.writes.db, pages.now, 80.0)
    page = await finance.open(base)
    seen = words_of(page)
    assert invoice
    assert "The invoices of providers are in, and settled ✕ failed" in seen
    assert "The chain is sealed ✓ ok" in seen
    assert f"{base}/sign-off?item=provider_invoices_in" in page.text
    assert 'href="/finance/manual/finance#invoices-of-providers"' in page.text
    refused = await finance.send(await finance.open(f"{base}/finish"), status=409)
    assert "provider_invoices_in" in words_of(refused)
    signed = await finance.send(
        await finance.open(f"{base}/sign-off?item=provider_invoices_in"), reason="The provider bills in January."
    )
    assert "are in, and settled red signed off" in words_of(signed)
    assert "The provider bills in January." in words_of(await finance.confirm(signed))
    papers = words_of(await ops.open(f"{base}/papers"))
    assert "A preview as of now" in papers
    assert "Trial balance: " in papers
    tax = words_of(await ops.open(f"{base}/papers?paper=tax_report"))
    assert "Tax report It has no rows." in tax
    await ops.open(f"{base}/papers?paper=nothing", status=400)
    table = await ops.client.get(f"{base}/papers/trial_balance")
    assert table.headers["content-type"].startswith("text/csv")
    assert b"0.05000001" in table.content
    await ops.open(f"{base}/late")
    await ops.open("/finance/close/nothing", status=404)


async def test_a_difference_is_looked_after_and_resolved_with_a_reason(
    finance: Reader, ops: Reader, difference: str
) -> None:
    listed = await ops.open("/finance/differences?scope=stripe")
    assert f"{difference} not booked 12.34" in words_of(listed)
    place = listed.text.partition('href="/finance/differences/diff_')[2].partition('"')[0]
    base = f"/finance/differences/diff_{place}"
    late = await finance.open(f"{base}/edit")
    await finance.write(f"{base}/edit", owner="Ann")
    refused = await finance.send(late, status=409, owner="Bob", note="Typed at length.")
    assert "Owner Ann" in words_of(refused)
    assert form_of(refused).fields["note"] == "Typed at length."
    empty = await finance.send(await finance.open(f"{base}/resolve"), status=400)
    assert "aria-invalid" in empty.text or 'role="alert"' in empty.text
    proposed = await finance.send(await finance.open(f"{base}/resolve"), reason="See letter 7 of the bank.")
    assert form_of(proposed).button == f"Resolve {difference}"
    assert "State open resolved" in words_of(proposed)
    assert "See letter 7 of the bank." in words_of(await finance.confirm(proposed))
    assert difference not in words_of(await ops.open("/finance/differences"))
    assert difference in words_of(await ops.open("/finance/differences?all=1"))


async def test_an_export_is_ordered_written_and_downloaded(pages: Pages, finance: Reader, ops: Reader) -> None:
    wrong = await finance.send(await finance.open("/finance/exports/new"), status=400, kind="journal", format="csv")
    assert "journal cannot be had as csv" in words_of(wrong)
    proposed = await finance.send(await finance.open("/finance/exports/new"), kind="movements", period=MONTH)
    assert "What none movements" in words_of(proposed)
    page = await finance.confirm(proposed)
    assert "State · queued" in words_of(page)
    assert await run.run_next(pages.context.writes.db, pages.context.reads.exports)
    done = await ops.open(page.url.path)
    assert "State ✓ done" in words_of(done)
    assert "sha256" in words_of(done).partition("Manifest")[2]
    manifest = await ops.client.get(f"{page.url.path}/files/manifest.json")
    assert manifest.json()["kind"] == "movements"
    await ops.open(f"{page.url.path}/files/passwd", status=404)
    assert page.url.path in (await ops.open("/finance/exports")).text


async def test_other_queues_are_written_by_finance_alone(
    pages: Pages, finance: Reader, ops: Reader, invoice: str
) -> None:
    await ops.open("/finance/reconciliations/new", status=403)
    listed = await finance.open("/finance/receivables")
    assert f"{invoice}" in words_of(listed)
    place = listed.text.partition('href="/finance/receivables/')[2].partition('"')[0]
    form = await finance.open(f"/finance/receivables/{place}")
    proposed = await finance.send(form, source="bank 1", amount_usd="0.01")
    assert form_of(proposed).button == f"Record a payment of {invoice}"
    assert "Paid, USD 0.00 0.01" in words_of(proposed)
    # What is paid beyond what is open is the customer's, and can be paid back.
    known = ReceivableId(parse(ReceivableId, place.partition("/")[0]))
    async with pages.context.writes.db.transaction() as tx:
        found = await get_receivable(tx, known)
        paid = NanoUSD(found.open + 40_000_000)
        legs = [
            Posting(LedgerKind.BANK, NanoUSD(-paid)),
            Posting(LedgerKind.CUSTOMER_RECEIVABLE, paid, found.account_id),
        ]
        entry = await post(tx, "payment", "bank 2", legs, account_id=found.account_id)
        await record_movement(tx, known, "bank 2", entry, paid, found.drawn)
    favour = await ops.open("/finance/receivables?state=in_favour")
    assert f"{invoice}" in words_of(favour)
    base = f"/finance/receivables/{place.partition('/')[0]}"
    assert f"{base}/pay-back" in favour.text
    back = await finance.send(await finance.open(f"{base}/pay-back"), source="bank 3")
    assert "Paid, USD 0.10 0.06" in words_of(back)
    await finance.confirm(back)
    assert "No row fits" in words_of(await ops.open("/finance/receivables?state=in_favour"))
    refused = await finance.send(await finance.open("/finance/refunds/new"), status=404, account="nobody", reason="x")
    assert form_of(refused).fields["account"] == "nobody"
