"""A month becomes an invoice through real Postgres: lines, numbers without gaps, entries, files that never change."""

import asyncio
from hashlib import sha256
from io import BytesIO

import msgspec
import pytest
from pypdf import PdfReader
from sqlalchemy import text

from billing.documents.document import Document, DocumentKind, month_of
from billing.documents.einvoice import read_embedded
from billing.documents.issue import issue, issue_waiting
from billing.documents.profiles import erase_profile, write_profile
from billing.documents.render import Renderer
from billing.documents.requests import (
    RequestState,
    issue_topup_document,
    list_requests,
    request_month,
)
from billing.documents.store import list_files, read_file
from billing.documents.verify import verify
from billing.lines import read_exposure
from store.postgres import Database
from tests.builders.billed_month import BY, an_account_with_a_month, last_month
from tests.builders.billing import Billing
from tests.builders.documents import a_buyer
from tests.builders.issued import assert_no_gaps, balances, documents_of, invoice_of, request_of

pytestmark = pytest.mark.anyio


async def test_what_a_line_drew_becomes_a_receivable_with_tax(b: Billing, renderer: Renderer) -> None:
    account = await an_account_with_a_month(
        b, [1_111_111_111, 2_000_000_001, 222_222_226], promotional=1_000_000_000, purchased=1_000_000_000, line=10**10
    )
    before = await balances(b)
    stored = await invoice_of(b, renderer, account)
    draft = stored.document.draft
    [line] = draft.lines
    assert line.usage is not None
    assert (line.amount_nano, line.usage.calls, line.usage.tokens) == (3_333_333_338, 3, 3_333_333_338)
    assert {one.reason.split()[0]: one.amount_nano for one in draft.deductions} == {
        "Given": 1_000_000_000,
        "Paid": 1_000_000_000,
    }
    # 1.333333338 drawn: 1.33, 19 % are 0.25; 0.003333338 go to rounding.
    assert (draft.net_cents, draft.tax_cents, draft.total_cents, draft.due_cents) == (133, 25, 158, 158)
    assert draft.local_tax is not None
    assert (draft.local_tax.currency, draft.local_tax.cents) == ("EUR", 23)
    after = await balances(b)
    moved = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in after | before}
    moved = {kind: amount for kind, amount in moved.items() if amount}
    assert moved == {
        "customer_receivable": -1_580_000_000,
        "customer_unbilled": 1_333_333_338,
        "tax_payable": 250_000_000,
        "rounding": -3_333_338,
    }
    await b.assert_books_are_right()


async def test_prepaid_usage_is_an_invoice_of_nothing_and_a_statement_that_adds_up(
    b: Billing, renderer: Renderer
) -> None:
    account = await an_account_with_a_month(b, [123_456_789], purchased=1_000_000_000)
    invoice = (await invoice_of(b, renderer, account)).document.draft
    assert (invoice.lines[0].cents, invoice.net_cents, invoice.tax_cents, invoice.due_cents) == (12, 0, 0, 0)
    statement = (await invoice_of(b, renderer, account, DocumentKind.STATEMENT)).document.draft.statement
    assert statement is not None
    moved = sum(one.amount_nano for one in statement.movements)
    assert statement.opening_nano + moved == statement.closing_nano
    assert [one.amount_nano for one in statement.movements if one.kind == "usage"] == [-123_456_789]
    stored = (await documents_of(b, account))[-1]
    owner = Database(b.db.url, as_owner=True)
    async with owner.engine.connect() as tx:
        assert (await verify(tx, stored)).faults == ()
        await tx.execute(text("SET LOCAL session_replication_role = replica"))
        await tx.execute(text("UPDATE entries SET period = :period WHERE kind = 'grant'"), {"period": last_month()})
        assert any("the ledger has" in fault for fault in (await verify(tx, stored)).faults)
        await tx.rollback()
    await owner.close()


async def test_what_a_line_drew_and_rounds_to_no_cent_is_owed_by_nobody(b: Billing, renderer: Renderer) -> None:
    account = await an_account_with_a_month(b, [4_000_000], line=10**9)
    draft = (await invoice_of(b, renderer, account)).document.draft
    assert (draft.net_cents, draft.due_cents, draft.rounding_nano) == (0, 0, -4_000_000)
    async with b.db.transaction() as tx:
        exposure = await read_exposure(tx, account)
        assert await tx.scalar(text("SELECT count(*) FROM receivables WHERE account_id = :a"), {"a": account}) == 0
    assert (exposure.unbilled, exposure.billed) == (0, 0)
    await b.assert_books_are_right()


async def test_files_are_stored_once_with_their_hashes_and_the_xml_is_in_the_pdf(
    b: Billing, renderer: Renderer
) -> None:
    account = await an_account_with_a_month(b, [50_000_000], line=10**9, buyer=a_buyer("FR", "FR40303265045"))
    stored = await invoice_of(b, renderer, account)
    async with b.db.transaction() as tx:
        files = {one.format: await read_file(tx, stored.id, one.format) for one in await list_files(tx, stored.id)}
    assert set(files) == {"pdf", "json", "csv", "ubl", "facturx"}
    assert all(file is not None and sha256(file.content).digest() == file.sha256 for file in files.values())
    assert msgspec.json.decode(files["json"].content, type=Document) == stored.document  # type: ignore[union-attr]
    facturx = files["facturx"].content  # type: ignore[union-attr]
    assert stored.document.name.encode() in read_embedded(facturx)
    page = PdfReader(BytesIO(files["pdf"].content)).pages[0].extract_text()  # type: ignore[union-attr]
    assert stored.document.name in page
    assert "Reverse charge" in page


async def test_what_fails_a_check_is_not_issued_and_takes_no_number(b: Billing, renderer: Renderer) -> None:
    """No profile, no usage, a country without rate or code, no font: rule and field are named."""
    account = await an_account_with_a_month(b, [1_000_000], line=10**9)
    faults = []
    for buyer in (None, a_buyer("ZQ"), a_buyer(legal_name="ᚠᚢᚦ")):
        async with b.db.transaction() as tx:
            await erase_profile(tx, account)
            if buyer is not None:
                await write_profile(tx, account, buyer, BY)
        async with b.db.transaction() as tx:
            await request_month(tx, DocumentKind.INVOICE, account, last_month(), "acme", BY)
        await issue_waiting(b.db, renderer)
        faults.append((await request_of(b, account)).fault)
    assert faults[0] == "buyer-is-known (buyer): the account has no billing profile"
    assert faults[1].startswith("BR-CL-14 (Invoice[1]/AccountingCustomerParty[1]/"), faults[1]
    assert faults[2].startswith("pdf-fonts (text): no font has ")
    async with b.db.transaction() as tx:
        await erase_profile(tx, account)
        await write_profile(tx, account, a_buyer(), BY)
        await request_month(tx, DocumentKind.INVOICE, account, last_month(), "nobody", BY)
    await issue_waiting(b.db, renderer)
    assert (await request_of(b, account)).fault == "seller-is-known (seller): there is no seller 'nobody'"
    await assert_no_gaps(b)


async def test_a_topup_has_one_tax_invoice_whose_tax_is_the_payments(b: Billing, renderer: Renderer) -> None:
    account = await an_account_with_a_month(b, [])
    for tax_cents in (476, 475, 475):
        async with b.db.transaction() as tx:
            await issue_topup_document(
                tx,
                account,
                payment_ref=f"pi_{tax_cents}",
                net_cents=2500,
                tax_cents=tax_cents,
                tax=None,
                paid_on=month_of(last_month())[1],
                paid_by="Card ending in 4242",
                seller="acme",
            )
        await issue_waiting(b.db, renderer)
    [topup] = await documents_of(b, account)
    draft = topup.document.draft
    assert (draft.kind, draft.total_cents, draft.due_cents) == (DocumentKind.TOPUP, 2975, 0)
    async with b.db.transaction() as tx:
        [right, wrong] = await list_requests(tx, account_id=account)
    assert (wrong.state, right.state) == (RequestState.REFUSED, RequestState.ISSUED)
    assert wrong.fault.startswith("total-is-payment (tax_cents)")


async def test_many_at_once_have_numbers_without_gaps(b: Billing, renderer: Renderer) -> None:
    """Four processes take each other's numbers; one request is worked on by two of them."""
    accounts = [await an_account_with_a_month(b, [10_000_000 + n], line=10**9) for n in range(8)]
    async with b.db.transaction() as tx:
        requests = [
            await request_month(tx, DocumentKind.STATEMENT, account, last_month(), "acme", BY) for account in accounts
        ]
    await asyncio.gather(
        *(issue_waiting(b.db, renderer) for _ in range(3)), *(issue(b.db, renderer, one) for one in requests[:3])
    )
    for account in accounts:
        assert len(await documents_of(b, account)) == 1
    await assert_no_gaps(b)


# What the owner of the database changes -> what verifying says.
CHANGES = {
    "UPDATE usage_events SET tokens = tokens + 1 WHERE account_id = :account": "line 1: tokens was 30000000",
    "UPDATE usage_events SET occurred_at = occurred_at + interval '1 s' WHERE account_id = :account": "1: root was",
    "DELETE FROM usage_events WHERE account_id = :account AND tokens = 10000000": "line 1: calls was 2, usage has 1",
    "UPDATE usage_events SET nano_per_mtok = 7 WHERE account_id = :account": "line 1: usage has no such calls",
    "UPDATE usage_events SET price_id = gen_random_uuid() WHERE account_id = :account": "2 calls were charged",
    "UPDATE prices SET effective_at = now()": "2 calls were charged another price than was in force",
    "UPDATE document_files SET content = '{}', sha256 = sha256('{}') WHERE format = 'json'": "the file json is not",
    "UPDATE postings SET amount_nano = amount_nano - 1": "its entry is a receivable of",
    "INSERT INTO usage_events SELECT (jsonb_populate_record(u, jsonb_build_object('request_id', gen_random_uuid()))).*"
    " FROM usage_events u WHERE account_id = :account AND tokens = 10000000": "line 1: calls was 2, usage has 3",
}


async def test_verifying_names_whatever_was_changed(b: Billing, renderer: Renderer) -> None:
    account = await an_account_with_a_month(b, [10_000_000, 20_000_000], line=10**9)
    stored = await invoice_of(b, renderer, account)
    owner = Database(b.db.url, as_owner=True)
    for change, fault in CHANGES.items():
        async with owner.engine.connect() as tx:
            assert (await verify(tx, stored)).faults == ()
            await tx.execute(text("SET LOCAL session_replication_role = replica"))
            await tx.execute(text(change), {"account": account} if ":account" in change else {})
            found = (await verify(tx, stored)).faults
            assert any(fault in one for one in found), (change, found)
            await tx.rollback()
    await owner.close()
