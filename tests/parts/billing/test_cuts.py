"""Whatever moves money may be killed at any statement or request: done again, nothing is lost, and nothing is twice.

A few cuts of each story by chance, which the order's seed repeats; ``GIGAROUTER_TEST_CUTS`` has another number,
or ``all`` (``make proofs``).
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from billing.close.finish import advance
from billing.credits import GrantKind, grant
from billing.documents.document import DocumentKind
from billing.documents.issue import issue_waiting
from billing.documents.render import Renderer
from billing.documents.requests import request_month
from billing.documents.store import list_documents
from billing.documents.verify import verify
from billing.expiry import expire_due
from billing.exports import run
from billing.exports.formats import ExportFormat, ExportKind
from billing.exports.requests import ExportState, Filters, find_export, request_export
from billing.exports.storage import MANIFEST, ExportFolder
from billing.money import NanoUSD
from billing.periods import State, list_periods, request_finish, sign_off, start
from billing.reaper import mismatches, reap
from billing.reconciliation.invoices import InvoiceState
from billing.reconciliation.provider_run import scope_of
from billing.stripe.refunds import RefundOrder, order_refund
from billing.stripe.topup_rules import TopupStatus
from billing.stripe.values import Cents
from billing.values import Hold
from store.ids import AccountId, DocumentId, ProviderId, ProviderInvoiceId, wire
from store.postgres import Database
from tests.builders.billed_month import BY, add_seller, an_account_with_a_month, last_month, make_month
from tests.builders.billing import an_account, usage_of
from tests.builders.collected import a_postpaid_month, issue_invoice, receivable_of
from tests.builders.provider_invoices import a_billed_provider, file_and_pay, filed
from tests.builders.stripe import Payments, payments, payments_beside
from tests.builders.values import a_payer
from tests.harness.cuts import Cut, Moment, counted_steps
from tests.harness.money_books import check_books

CENT, LONGEST_S = 10_000_000, 80.0
CUTS = 2
NOW = datetime.now(UTC)
# Months that are closed one after the other, each by another cut.
FIRST_MONTH, MONTHS = date(NOW.year - 8, 1, 1), 12 * 8

# A story prepares its facts and returns the work, which may be done again, and what must be true afterwards.
Work: TypeAlias = Callable[[Payments], Coroutine[Any, Any, object]]
CheckStory: TypeAlias = Callable[[], Awaitable[None]]
Prepare: TypeAlias = Callable[["World"], Awaitable[tuple[AccountId | None, Work, CheckStory]]]


class World(msgspec.Struct):
    """What stories share."""

    p: Payments
    redis_url: str
    renderer: Renderer
    folder: ExportFolder
    month: date = FIRST_MONTH

    async def credit(self, account: AccountId) -> int:
        [(nano,)] = await self.p.rows(
            f"SELECT posted_nano FROM ledger_accounts WHERE account_id = '{account}' AND kind = 'customer_credit'"
        )
        return int(str(nano))

    async def count(self, table_where: str) -> int:
        [(count,)] = await self.p.rows(f"SELECT count(*) FROM {table_where}")
        return int(str(count))

    async def recover(self, account: AccountId | None) -> None:
        """What time does: leases end, holds are overdue and reaped."""
        owner = Database(self.p.db.url, as_owner=True)
        async with owner.transaction() as tx:
            await tx.execute(text("UPDATE stripe_work SET lease_until = '-infinity', due_at = now()"))
            await tx.execute(text("UPDATE document_requests SET run_after = now() WHERE state = 'waiting'"))
            await tx.execute(text("UPDATE exports SET lease_until = now() - interval '1 s' WHERE state = 'running'"))
        await owner.close()
        if account is not None:
            await self.p.billing.make_overdue(account)
            await reap(self.p.db, self.p.billing.projection, LONGEST_S)
        # Jobs set accounts anew that fell behind: whoever granted died before Redis heard of it.
        for behind in await mismatches(self.p.db, self.p.billing.projection):
            await self.p.billing.projection.refresh(behind.account_id)
        await self.p.billing.settle()


async def webhook(w: World) -> tuple[AccountId, Work, CheckStory]:
    account = await an_account(w.p.db, 0)
    topup = await w.p.open(account, 1_000)
    first = len(w.p.world.events)
    w.p.world.pay(str(topup.session_id))
    events = w.p.world.events[first:]

    async def check() -> None:
        assert (await w.p.read(topup)).status is TopupStatus.PAID
        assert await w.credit(account) == 1_000 * CENT
        assert await w.count(f"grants WHERE account_id = '{account}'") == 1

    return account, lambda p: p.hear(events), check


async def order(w: World) -> tuple[AccountId, Work, CheckStory]:
    account = await an_account(w.p.db, 0)
    sessions = len(w.p.world.all("checkout.session"))

    async def work(p: Payments) -> None:
        await p.order(account, 1_000, "one")
        await p.act()

    async def check() -> None:
        assert await w.count(f"topups WHERE account_id = '{account}' AND status = 'open'") == 1
        # A page that was made and not noted is asked for under the same key: it is the same page.
        assert len(w.p.world.all("checkout.session")) == sessions + 1

    return account, work, check


async def recharge(w: World) -> tuple[AccountId, Work, CheckStory]:
    account = await an_account(w.p.db, 0)
    await w.p.save(account, 1_000)
    await w.p.consent(account, 2_000, 2_500, 10_000)

    async def work(p: Payments) -> None:
        await p.recharge(later=True)

    async def check() -> None:
        assert await w.credit(account) == 3_500 * CENT
        attempts = await w.p.rows(f"SELECT status FROM recharges WHERE account_id = '{account}'")
        assert attempts == [("paid",)]
        customer = await w.p.customer(account)
        paid = [one["amount_paid"] for one in w.p.world.all("invoice") if one["customer"] == customer]
        assert [amount for amount in paid if amount] == [2_500]

    return account, work, check


async def collect(w: World) -> tuple[AccountId, Work, CheckStory]:
    stored = await issue_invoice(w.p, w.renderer, await a_postpaid_month(w.p, 300))
    reference, first = wire(DocumentId, stored.id), len(w.p.world.events)

    async def work(p: Payments) -> None:
        await p.act()
        for invoice in p.world.collected(reference):
            if invoice["status"] == "open":
                p.world.pay_on_page(invoice["id"])
        await p.hear(p.world.events[first:])

    async def check() -> None:
        made = w.p.world.collected(reference)
        assert [(one["number"], one["status"], one["amount_paid"]) for one in made] == [
            (stored.document.name, "paid", stored.document.draft.total_cents)
        ]
        assert (await receivable_of(w.p, stored)).open == 0
        assert await w.count(f"collected_payments WHERE document_id = '{stored.id}'") == 1
        assert await w.count(f"collections WHERE document_id = '{stored.id}' AND status = 'paid'") == 1

    return stored.account_id, work, check


async def refund(w: World) -> tuple[AccountId, Work, CheckStory]:
    account = await an_account(w.p.db, 0)
    topup = await w.p.buy(account, 1_000)
    await spend(w, account, 300 * CENT + 1)
    wanted = RefundOrder(
        account_id=account, amount=Cents(600), topup_id=None, reason="tests", actor="tests", key="back"
    )

    async def work(p: Payments) -> None:
        async with p.db.transaction() as tx:
            await order_refund(tx, wanted)
        await p.act()

    async def check() -> None:
        await w.p.hear(w.p.world.events[-4:])
        made = [one["amount"] for one in w.p.world.all("refund") if one["payment_intent"] == topup.intent_id]
        assert made == [600]
        assert await w.credit(account) == 100 * CENT - 1
        assert await w.p.rows(f"SELECT status, credit_cents FROM refunds WHERE account_id = '{account}'") == [
            ("succeeded", 600)
        ]

    return account, work, check


async def dispute(w: World) -> tuple[AccountId, Work, CheckStory]:
    account = await an_account(w.p.db, 0)
    topup = await w.p.buy(account, 1_000)
    await spend(w, account, 300 * CENT)
    first = len(w.p.world.events)
    w.p.world.dispute(str(topup.charge_id))
    events = w.p.world.events[first:]

    async def check() -> None:
        assert await w.credit(account) == 0
        [(debt,)] = await w.p.rows(
            f"SELECT -posted_nano FROM ledger_accounts WHERE account_id = '{account}' AND kind = 'customer_overdraft'"
        )
        assert debt == 300 * CENT

    return account, lambda p: p.hear(events), check


async def expiry(w: World) -> tuple[AccountId, Work, CheckStory]:
    account = await an_account(w.p.db, 500)
    async with w.p.db.transaction() as tx:
        await grant(tx, account, NanoUSD(70), GrantKind.GOODWILL, source_ref=f"old:{account}", expires_at=NOW)
    await w.p.billing.projection.refresh(account)

    async def work(p: Payments) -> None:
        b = p.billing
        await expire_due(b.db, b.admission, b.projection, b.generation, datetime.now(UTC))

    async def check() -> None:
        assert await w.credit(account) == 500
        assert await w.count(f"entries WHERE kind = 'expiry' AND account_id = '{account}'") == 1

    return account, work, check


async def issue(w: World) -> tuple[AccountId, Work, CheckStory]:
    account = await an_account_with_a_month(w.p.billing, [12_345_678], line=10**9)
    async with w.p.db.transaction() as tx:
        await request_month(tx, DocumentKind.INVOICE, account, last_month(), "acme", BY)

    async def check() -> None:
        async with w.p.db.transaction() as tx:
            [stored] = await list_documents(tx, account_id=account)
            assert (await verify(tx, stored)).faults == ()
        [(count, last)] = await w.p.rows("SELECT count(*), max(number) FROM documents WHERE kind = 'invoice'")
        assert count == last
        assert await w.count(f"receivables WHERE account_id = '{account}'") <= 1

    return account, lambda p: issue_waiting(p.db, w.renderer), check


async def export(w: World) -> tuple[None, Work, CheckStory]:
    since, until = NOW - timedelta(days=60), NOW - timedelta(hours=2)
    async with w.p.db.transaction() as tx:
        asked = [
            await request_export(tx, ExportKind.MOVEMENTS, ExportFormat.CSV, since, until, Filters(), "cli:test")
            for _ in range(2)
        ]

    async def work(p: Payments) -> None:
        while await run.run_next(p.db, w.folder):
            pass

    async def check() -> None:
        files = []
        for one in asked:
            async with w.p.db.transaction() as tx:
                found = await find_export(tx, one.id)
            assert found is not None
            assert found.state is ExportState.DONE, found.failure
            paths = sorted(w.folder.of(one.id).iterdir())
            assert not [path for path in paths if path.suffix == ".part"]
            files.append({path.name: path.read_bytes() for path in paths if path.name != MANIFEST})
        assert files[0] == files[1]

    return None, work, check


async def close(w: World) -> tuple[AccountId, Work, CheckStory]:
    account = await an_account(w.p.db, 500)
    month = w.month
    w.month = (month + timedelta(days=32)).replace(day=1)
    at = datetime(month.year, month.month, 9, tzinfo=UTC)
    await spend(w, account, 200, at)
    await check_books(w.p)
    async with w.p.db.transaction() as tx:
        await start(tx, month)
        for item in ("provider_invoices_in", "draws_billed", "documents_issued", "stripe_is_clearing"):
            await sign_off(tx, month, item, "tests", BY)
        await request_finish(tx, month)

    async def check() -> None:
        async with w.p.db.transaction() as tx:
            [found] = [period for period in await list_periods(tx) if period.period == month]
        assert found.state is State.CLOSED
        # A call of the month that comes now is in the open one.
        await spend(w, account, 7, at)
        late = await w.p.rows(
            f"SELECT period = '{month}' FROM entries WHERE account_id = '{account}' AND kind = 'usage'"
        )
        assert sorted(late) == [(False,), (True,)]

    return account, lambda p: advance(p.db, datetime.now(UTC), LONGEST_S), check


async def provider_invoice(w: World) -> tuple[AccountId, Work, CheckStory]:
    """Imported, settled and paid: each is a command of its own, which refuses what was done before."""
    account = await an_account(w.p.db, 500)
    order = await a_billed_provider(w.p.billing, account, 150, 30_000_150)

    async def check() -> None:
        invoice = await filed(w.p.db, order)
        assert (invoice.state, invoice.accrued, invoice.paid_at is None) == (InvoiceState.SETTLED, 150, False)
        reference, provider = wire(ProviderInvoiceId, invoice.id), wire(ProviderId, order.provider_id)
        for fact in ("invoice", "payment"):
            assert await w.count(f"entries WHERE source_ref = 'provider_{fact}:{reference}'") == 1
        payable = await w.p.rows(
            "SELECT p.amount_nano FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id"
            f" WHERE l.detail = '{provider}' ORDER BY 1"
        )
        assert payable == [(-30_000_150,), (30_000_150,)]
        assert await w.count(f"differences WHERE scope = '{scope_of(invoice.id)}' AND reason = 'known'") > 0
        audited = await w.p.rows(f"SELECT action FROM audit WHERE subject = '{reference}' ORDER BY id")
        assert audited == [(f"provider_invoice.{verb}",) for verb in ("import", "settle", "pay")]

    return account, lambda p: file_and_pay(p.db, order), check


async def spend(w: World, account: AccountId, cost: int, at: datetime | None = None) -> None:
    await w.p.billing.settle()
    hold = await w.p.billing.admit(a_payer(account), cost)
    assert isinstance(hold, Hold), hold
    usage = usage_of(1, at)
    await w.p.billing.charging.charge(hold, msgspec.structs.replace(usage, cost=NanoUSD(cost)))
    await w.p.billing.settle()


STORIES: tuple[Prepare, ...] = (
    *(webhook, order, recharge, collect, refund, dispute, expiry, issue, export, close),
    provider_invoice,
)


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    renderer = Renderer()
    yield renderer
    renderer.close()


def cuts_of(steps: int) -> list[tuple[int, Moment]]:
    every = [(at, moment) for at in range(1, steps + 1) for moment in Moment]
    wanted = os.environ.get("GIGAROUTER_TEST_CUTS", CUTS)
    return every if wanted == "all" else random.sample(every, min(int(wanted), len(every)))


async def tell(w: World, prepare: Prepare) -> None:
    """A story without a cut, which counts its steps, then with each cut, in a process that is no more afterwards."""
    whole = Cut()
    _, work, check = await prepare(w)
    assert await whole.run(work(w.p))
    await check()
    for at, moment in cuts_of(len(whole.steps)):
        account, work, check = await prepare(w)
        cut = Cut(at, moment)
        async with payments_beside(w.p.stripe, w.p.db.url, w.redis_url) as killed:
            try:
                ended = await cut.run(work(killed))
                killed.billing.die()
                await w.recover(account)
                for _ in range(2):
                    await work(w.p)
                await check()
            except BaseException as fault:
                fault.add_note(f"{prepare.__name__}: {cut}")
                raise
            finally:
                await cut.bury()
        # Where things are done side by side, another run may have fewer steps.
        assert moment is Moment.LOST or not ended or len(cut.steps) < at, cut


def test_killed_at_any_step_and_done_again_it_is_done_once(
    database_url: str, redis_url: str, renderer: Renderer, tmp_path: Path
) -> None:
    async def running() -> None:
        owner = Database(database_url, as_owner=True)
        async with owner.transaction() as tx:
            months = {"first": FIRST_MONTH, "months": MONTHS}
            await tx.execute(text("SELECT make_usage_months(:first, :months)"), months)
        await owner.close()
        async with payments(database_url, redis_url) as p:
            await make_month(p.db)
            await add_seller(p.db)
            w = World(p, redis_url, renderer, ExportFolder(tmp_path, 1 << 30, timedelta(days=1)))
            for prepare in STORIES:
                await tell(w, prepare)
            await check_books(w.p)
            await p.assert_right()

    with counted_steps(), capture_logs():
        asyncio.run(running())
