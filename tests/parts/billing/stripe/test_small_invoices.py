"""What is too little to be collected waits for a later invoice, which names each month; nothing is lost or twice."""

from datetime import UTC, date, datetime

from sqlalchemy import text

from billing.close.checklist import ITEMS, Month
from billing.documents.document import DocumentKind
from billing.documents.issue import issue_waiting
from billing.documents.profiles import write_profile
from billing.documents.render import Renderer
from billing.documents.requests import DocumentRequest, find_source, request_credit_note, request_month
from billing.documents.store import StoredDocument, list_documents
from billing.documents.verify import verify
from billing.lines import end_line, set_line
from billing.money import NanoUSD
from billing.receivables import accrue
from billing.seal import seal
from billing.stripe.collection_rules import CollectionStatus
from billing.values import Hold
from store.ids import AccountId
from store.postgres import Database
from tests.builders.billed_month import BY, add_seller, make_month
from tests.builders.collected import COLLECTS, at_stripe, collection_of, receivable_of
from tests.builders.database import add_account
from tests.builders.documents import a_buyer, a_seller
from tests.builders.stripe import CENT, Payments, run_story
from tests.builders.values import a_payer

NOW = datetime.now(UTC)
MARCH, APRIL, MAY = (date(NOW.year - 1, month, 1) for month in (3, 4, 5))


async def begin(p: Payments) -> None:
    await make_month(p.db)
    await add_seller(p.db, a_seller(currency="USD"))
    owner = Database(p.db.url, as_owner=True)
    async with owner.transaction() as tx:
        await tx.execute(text("SELECT make_usage_months(:month, 3)"), {"month": MARCH})
        # The price was in force then, too.
        await tx.execute(text("SET LOCAL session_replication_role = replica"))
        await tx.execute(text("UPDATE prices SET effective_at = :at"), {"at": datetime(NOW.year - 2, 1, 1, tzinfo=UTC)})
    await owner.close()


async def a_postpaid_account(p: Payments) -> AccountId:
    async with p.db.transaction() as tx:
        account = await add_account(tx, 0, "Small")
        await write_profile(tx, account, a_buyer(), BY)
        await set_line(tx, account, NanoUSD(10**10), NOW)
    await p.billing.projection.refresh(account)
    return account


async def draw(p: Payments, account: AccountId, month: date, cents: int) -> None:
    hold = await p.billing.admit(a_payer(account), cents * CENT)
    assert isinstance(hold, Hold), hold
    await p.billing.charge(hold, cents * CENT, at=datetime(month.year, month.month, 9, tzinfo=UTC))
    await p.billing.settle()


async def invoice(p: Payments, renderer: Renderer, account: AccountId, month: date, after: int = 0) -> DocumentRequest:
    """Ask for a month's invoice; what became of the request."""
    async with p.db.transaction() as tx:
        asked = await request_month(tx, DocumentKind.INVOICE, account, month, "acme", BY, after=after)
    await issue_waiting(p.db, renderer, provider=COLLECTS)
    async with p.db.transaction() as tx:
        found = await find_source(tx, asked.source_ref)
    assert found is not None
    return found


async def documents(p: Payments, account: AccountId) -> list[StoredDocument]:
    async with p.db.transaction() as tx:
        return (await list_documents(tx, account_id=account))[::-1]


async def red(p: Payments, month: date) -> list[str]:
    """What of the month's close is red about invoices."""
    async with p.db.transaction() as tx:
        found = [
            await ITEMS[name].find(tx, Month(month, NOW, 80.0))
            for name in ("draws_accrued", "draws_billed", "documents_issued")
        ]
    return [one for one in found if one]


def test_months_that_come_to_too_little_are_on_a_later_invoice_with_their_names(
    database_url: str, redis_url: str, renderer: Renderer
) -> None:
    async def story(p: Payments) -> None:
        await begin(p)
        account = await a_postpaid_account(p)
        for month, cents in ((MARCH, 20), (APRIL, 20), (MAY, 20)):
            await draw(p, account, month, cents)
        await seal(p.db)
        await accrue(p.db, NOW)
        await seal(p.db)
        assert await red(p, MARCH) == ["0.20 USD were drawn from lines and are on no invoice"]
        for month in (MARCH, APRIL):
            small = await invoice(p, renderer, account, month)
            assert small.state.value == "carried"
            assert "USD are less than is collected, 0.50 USD: the month will be on the next invoice" in small.fault
        assert await documents(p, account) == []
        # A month closes although its draws wait.
        assert await red(p, MARCH) == await red(p, APRIL) == []
        assert await red(p, MAY) == ["0.20 USD were drawn from lines and are on no invoice"]
        assert (await invoice(p, renderer, account, MAY)).state.value == "issued"
        (stored,) = await documents(p, account)
        draft = stored.document.draft
        assert (draft.since, draft.period, draft.net_cents, draft.total_cents) == (MARCH, MAY, 60, 71)
        assert [line.description[:7] for line in draft.lines] == [f"{m:%Y-%m}" for m in (MARCH, APRIL, MAY)]
        async with p.db.transaction() as tx:
            assert (await verify(tx, stored)).faults == ()
        await p.act()
        assert at_stripe(p, stored)["total"] == 71
        # Each month is on one invoice, whoever asks again; taken back, all of them are on the next.
        again = await invoice(p, renderer, account, MARCH)
        assert (again.state.value, again.fault) == ("carried", f"it is on {stored.document.name}")
        async with p.db.transaction() as tx:
            await request_credit_note(tx, account, stored.id, "wrong address", BY)
        await issue_waiting(p.db, renderer, provider=COLLECTS)
        assert await red(p, MARCH) == []
        assert (await invoice(p, renderer, account, MAY, after=1)).state.value == "issued"
        new = (await documents(p, account))[-1]
        assert new.document.draft.lines == draft.lines
        await seal(p.db)
        assert await red(p, MAY) == []
        # Nothing follows a line that has ended: however little it is, it is invoiced, and paid at the bank.
        last = await a_postpaid_account(p)
        await draw(p, last, MARCH, 20)
        assert (await invoice(p, renderer, last, MARCH)).state.value == "carried"
        async with p.db.transaction() as tx:
            await end_line(tx, last)
        assert (await invoice(p, renderer, last, MARCH)).state.value == "issued"
        (small_one,) = await documents(p, last)
        await p.act()
        found = await collection_of(p, small_one)
        assert (found.status, found.invoice_id) == (CollectionStatus.ENDED, None)
        assert found.problem == "0.24 USD are less than Stripe collects, 0.50"
        assert (await receivable_of(p, small_one)).open == 24 * CENT

    run_story(database_url, redis_url, story)
