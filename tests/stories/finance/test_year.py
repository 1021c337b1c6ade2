"""A simulated year: customers of all kinds, twelve closes to the nano, and at its end everything is paid back.

``make year`` has a thousand accounts and a million calls; by default it is a small year with the same story.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from billing.close.finish import advance
from billing.credits import GrantKind, grant
from billing.documents.document import DocumentKind
from billing.documents.issue import issue_waiting
from billing.documents.profiles import write_profile
from billing.documents.render import Renderer
from billing.documents.requests import request_month
from billing.documents.store import list_documents
from billing.documents.verify import verify
from billing.expiry import expire_due
from billing.lines import end_line, fit_lines, set_line
from billing.money import NanoUSD
from billing.periods import read_pack, request_finish, sign_off, start
from billing.receivables import accrue, list_receivables, pay
from billing.reconciliation import stripe_run
from billing.reconciliation.runs import RunKind, end_run, request_run
from billing.seal import seal
from billing.stripe import inbox, sweep
from billing.stripe.act import work_once
from billing.stripe.events import read_notice
from billing.stripe.refunds import RefundOrder, order_refund
from billing.stripe.topups import Topup
from billing.values import Denied, Quote
from store.ids import AccountId, RequestId, new_id
from store.postgres import Database
from tests.builders.billed_month import BY, add_seller
from tests.builders.billing import MODEL, PRICE, an_account, usage_of
from tests.builders.database import insert_model
from tests.builders.documents import a_buyer, a_seller
from tests.builders.stripe import Payments, payments_beside
from tests.builders.values import a_payer
from tests.harness.money_books import check_books
from tests.harness.money_model import GIFTS, Money
from tests.harness.simulated_clock import SimulatedClock, everybody_follows
from tests.harness.stripe_server import StripeServer
from tests.harness.stripe_webhooks import classic
from tests.harness.stripe_world import Json

ACCOUNTS = int(os.environ.get("GIGAROUTER_TEST_YEAR_ACCOUNTS", "5"))
CALLS = int(os.environ.get("GIGAROUTER_TEST_YEAR_CALLS", "240"))
SEED = int(os.environ.get("GIGAROUTER_TEST_YEAR_SEED", str(random.randrange(10**6))))
CENT, USD, LONGEST_S, AT_ONCE = 10_000_000, 1_000_000_000, 80.0, 32
FIRST = (datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(
    day=1
)
# The kinds of customers, by what pays for their calls.
PREPAID, GIFTED, LENT, MIXED, FICKLE = range(5)


class Customer(msgspec.Struct):
    """An account, its kind, and what the model says of its money."""

    id: AccountId
    kind: int
    money: Money
    topups: list[Topup] = []
    disputed: bool = False


class Year:
    """What a year has; each method is something that happens in it, to the product and to the model."""

    def __init__(self, clock: SimulatedClock, p: Payments, customers: list[Customer], rng: random.Random) -> None:
        self.clock, self.p, self.customers, self.rng = clock, p, customers, rng

    async def buy(self, wanted: list[tuple[Customer, int]]) -> None:
        """Top-ups of many at once, in cents."""
        orders = [(customer, cents, await self.p.order(customer.id, cents)) for customer, cents in wanted]
        await self.work()
        first = len(self.p.world.events)
        for customer, cents, topup in orders:
            page = await self.p.read(topup)
            self.p.world.pay(str(page.session_id))
            customer.topups.append(page)
            customer.money.give("purchased", cents * CENT, topup=page.reference)
        await self.hear(self.p.world.events[first:])

    async def hear(self, events: list[Json]) -> None:
        """Events come as webhooks bring them, and are acted on."""
        async with self.p.db.transaction() as tx:
            for event in events:
                await inbox.store(tx, read_notice(classic(event)), "webhook")
        await self.work()

    async def work(self) -> None:
        """Work on all that is due, without a look at every account's Redis in between."""
        while await work_once(self.p.context):
            pass
        await self.p.act()

    async def give(self, customer: Customer, amount: int, days: int) -> None:
        until = self.clock.now() + timedelta(days=days)
        async with self.p.db.transaction() as tx:
            source = f"gift:{new_id()}"
            await grant(tx, customer.id, NanoUSD(amount), GrantKind.PROMOTIONAL, source_ref=source, expires_at=until)
        customer.money.give("promotional", amount, day=int(until.timestamp()))

    async def lend(self, customer: Customer, limit: int) -> None:
        async with self.p.db.transaction() as tx:
            await set_line(tx, customer.id, NanoUSD(limit), self.clock.now())
        customer.money.limit = limit
        customer.money.fit()

    async def calls(self, count: int, since: datetime, most: int) -> None:
        """Calls of every customer, one after the other, those of different customers side by side."""
        gate = asyncio.Semaphore(AT_ONCE)
        plans = {id(customer): [self.rng.randint(1, most) for _ in range(count)] for customer in self.customers}

        async def of_one(customer: Customer) -> None:
            for number, cost in enumerate(plans[id(customer)]):
                async with gate:
                    await self.call(customer, cost, since + timedelta(minutes=number % 30_000))

        await asyncio.gather(*map(of_one, self.customers))
        await self.p.billing.settle()

    async def call(self, customer: Customer, cost: int, at: datetime) -> None:
        b, quote = self.p.billing, Quote(1, NanoUSD(cost), PRICE)
        deadline = asyncio.get_running_loop().time() + 60
        payer = a_payer(customer.id)
        hold = await b.admission.admit(RequestId(new_id()), payer, quote, self.clock.now(), deadline, None)
        is_paid = cost <= customer.money.free
        assert isinstance(hold, Denied) is not is_paid, (hold, customer)
        if not isinstance(hold, Denied):
            await b.charging.charge(hold, msgspec.structs.replace(usage_of(1, at), cost=NanoUSD(cost)))
            customer.money.spend(cost, f"{at:%Y-%m}")

    async def refund(self, wanted: list[tuple[Customer, int | None]]) -> None:
        """Refunds of many at once, in cents, or of all that there is."""
        first, orders = len(self.p.world.events), []
        for customer, cents in wanted:
            facts = {"account_id": customer.id, "amount": cents, "topup_id": None, "reason": "tests", "actor": BY}
            orders.append((customer, msgspec.convert({**facts, "key": new_id().hex}, RefundOrder)))
        async with self.p.db.transaction() as tx:
            for _, order in orders:
                await order_refund(tx, order)
        await self.work()
        await self.hear(self.p.world.events[first:])
        async with self.p.db.transaction() as tx:
            made = [(customer, await order_refund(tx, order)) for customer, order in orders]
        for customer, rows in made:
            references = {topup.id: topup.reference for topup in customer.topups}
            for row in rows:
                assert row.status == "succeeded", row
                taken = (row.credit_cents or 0) * CENT
                assert customer.money.take(taken, ["purchased"], topup=references[row.topup_id]).total() == taken

    async def dispute(self, customer: Customer) -> None:
        """The newest payment is disputed, and lost."""
        first, topup = len(self.p.world.events), await self.p.read(customer.topups[-1])
        opened = self.p.world.dispute(str(topup.charge_id))
        self.p.world.close_dispute(opened["id"], won=False)
        await self.p.hear(self.p.world.events[first:])
        amount = opened["amount"] * CENT
        customer.money.debt += amount - customer.money.take(amount, ["purchased", *GIFTS]).total()
        customer.disputed = True

    async def expire(self) -> None:
        b, now = self.p.billing, self.clock.now()
        await expire_due(b.db, b.admission, b.projection, b.generation, now)
        for customer in self.customers:
            customer.money.expire(int(now.timestamp()))

    async def pay_invoices(self) -> None:
        """Each open invoice is paid, and the line is lent again."""
        async with self.p.db.transaction() as tx:
            due = [one for one in await list_receivables(tx) if one.open > 0]
            for one in due:
                await pay(tx, one.id, one.open, self.clock.now(), source_ref=f"wire:{one.source_ref}")
        by_id = {customer.id: customer for customer in self.customers}
        for one in due:
            by_id[one.account_id].money.owed -= one.drawn
            by_id[one.account_id].money.fit()
        await self.p.act()


async def a_month(year: Year, number: int, begin: datetime) -> None:
    """What customers do in a month; the clock is late in it."""
    await year.pay_invoices()
    poor = [
        one for one in year.customers if one.kind in (PREPAID, MIXED, FICKLE) and one.money.left("purchased") < 3 * USD
    ]
    await year.buy([(one, year.rng.randint(500, 2_000)) for one in poor])
    for one in year.customers:
        if one.kind in (GIFTED, MIXED):
            await year.give(one, year.rng.randint(1, 2 * USD), 40)
        if one.kind in (LENT, MIXED) and number in (0, 5):
            await year.lend(one, (20 if number == 0 else 15) * USD)
    await year.p.act()
    count = max(1, CALLS // 12 // len(year.customers))
    await year.calls(count, begin + timedelta(days=1), max(2, 6 * USD // count))
    fickle = [one for one in year.customers if one.kind == FICKLE and not one.disputed]
    halves = [(one, one.money.left("purchased") // CENT // 2) for one in fickle]
    if number % 3 == 2:
        await year.refund([(one, cents) for one, cents in halves if cents])
    if number == 6:
        await year.dispute(fickle[0])
    await year.expire()
    b = year.p.billing
    await fit_lines(b.db, b.admission, b.projection, b.generation, year.clock.now())


async def compare_with_stripe(p: Payments) -> None:
    """Each movement at Stripe has its entry, and the sums are the same."""
    async with p.db.transaction() as tx:
        run = await request_run(tx, RunKind.STRIPE, BY)
    result = await stripe_run.reconcile(p.context, settle_s=0.0, young=timedelta(0))
    assert result.found == []
    async with p.db.transaction() as tx:
        await end_run(tx, run, examined=result.examined)


async def close(year: Year, renderer: Renderer, begin: datetime) -> dict[str, Any]:
    """Invoice and close the month; returns the closing papers."""
    p, month = year.p, begin.date()
    await seal(p.db)
    await accrue(p.db, year.clock.now())
    lent = [one for one in year.customers if one.kind in (LENT, MIXED) and one.money.used[f"{month:%Y-%m}"]]
    async with p.db.transaction() as tx:
        for one in lent:
            await request_month(tx, DocumentKind.INVOICE, one.id, month, "acme", BY)
    assert await issue_waiting(p.db, renderer, at_most=10**6) == len(lent)
    await check_books(p)
    await sweep.sweep_transactions(p.context)
    await p.act()
    await sweep.sweep_transactions(p.context)
    assert await sweep.clearing_difference(p.context) == 0
    await compare_with_stripe(p)
    await check_books(p)
    async with p.db.transaction() as tx:
        await start(tx, month)
        for item in ("provider_invoices_in", "documents_issued"):
            await sign_off(tx, month, item, "tests", BY)
        await request_finish(tx, month)
    assert await advance(p.db, year.clock.now(), LONGEST_S) == 1, await p.rows("SELECT * FROM period_checks")
    async with p.db.transaction() as tx:
        return {table["name"]: table for table in await read_pack(tx, month)}


def check_papers(papers: dict[str, Any], year: Year, begin: datetime, before: Counter[str]) -> Counter[str]:
    """The papers are what the model says, to the nano, and begin where those of the month before ended."""
    flows = {row[0]: dict(zip(papers["deferred_revenue"]["columns"], row, strict=True))
             for row in papers["deferred_revenue"]["rows"]}  # fmt: skip
    closing = Counter({kind: nano(row["closing"]) for kind, row in flows.items()})
    assert Counter({kind: nano(row["opening"]) for kind, row in flows.items()}) == before
    assert closing == Counter({kind: sum(one.money.left(kind) for one in year.customers) for kind in GrantKind})
    trial = {row[1]: nano(row[5]) for row in papers["trial_balance"]["rows"]}
    assert trial.get("customer_credit", 0) == closing.total()
    assert trial.get("customer_overdraft", 0) == -sum(one.money.debt for one in year.customers)
    used = sum(one.money.used[f"{begin:%Y-%m}"] for one in year.customers)
    assert sum(nano(row[4]) + nano(row[5]) for row in papers["revenue_by_model"]["rows"][:1]) == used
    return closing


def nano(usd: str) -> int:
    return int(Decimal(usd) * USD)


async def pay_everybody_back(year: Year) -> None:
    """Lines end and are paid, debt is paid, what is no whole cent is used, and the rest goes back."""
    await year.pay_invoices()
    for one in year.customers:
        if one.money.limit:
            async with year.p.db.transaction() as tx:
                await end_line(tx, one.id)
            one.money.limit = 0
            one.money.fit()
    b = year.p.billing
    await fit_lines(b.db, b.admission, b.projection, b.generation, year.clock.now())
    await year.expire()
    await year.buy([(one, max(500, one.money.debt // CENT + 1)) for one in year.customers if one.money.debt])
    for one in year.customers:
        # Of a payment that was disputed nothing goes back.
        rest = one.money.free if one.disputed else one.money.free % CENT
        if rest:
            await year.call(one, rest, year.clock.now())
    await year.p.billing.settle()
    await year.refund([(one, None) for one in year.customers if one.money.free])
    assert [one for one in year.customers if one.money.free or one.money.debt or one.money.owed] == []


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    renderer = Renderer()
    yield renderer
    renderer.close()


async def live(database_url: str, redis_url: str, stripe: StripeServer, renderer: Renderer) -> None:
    rng, clock = random.Random(SEED), SimulatedClock(database_url)
    await clock.install()
    owner = Database(database_url, as_owner=True)
    customers: list[Customer] = []
    deferred: Counter[str] = Counter(dict.fromkeys(GrantKind, 0))
    begin = FIRST
    with everybody_follows(clock):
        for number in range(13):
            following = (begin + timedelta(days=32)).replace(day=1)
            began = time.perf_counter()
            # At the end, after the last gift has expired.
            await clock.set(begin + timedelta(days=26 if number < 12 else 57))
            async with owner.transaction() as tx:
                for what in ("usage", "ledger"):
                    await tx.execute(text(f"SELECT make_{what}_months((now() AT TIME ZONE 'UTC')::date, 4)"))
            async with payments_beside(stripe, database_url, redis_url) as p:
                if not customers:
                    customers = await open_accounts(p, owner)
                year = Year(clock, p, customers, rng)
                if number == 12:
                    await pay_everybody_back(year)
                    await check_the_end(year)
                    break
                await a_month(year, number, begin)
                # No call comes now, so that it does not matter that the process slept for so long.
                await clock.set(following + timedelta(hours=2))
                deferred = check_papers(await close(year, renderer, begin), year, begin, deferred)
            print(f"{begin:%Y-%m}: {time.perf_counter() - began:.1f} s", flush=True)
            begin = following
    await owner.close()


async def open_accounts(p: Payments, owner: Database) -> list[Customer]:
    await add_seller(p.db, a_seller(currency="USD"))
    async with owner.transaction() as tx:
        await insert_model(tx, MODEL)
        row = {"id": PRICE.id, "model": MODEL, "price": PRICE.nano_per_mtok, "at": PRICE.effective_at}
        statement = "INSERT INTO prices (id, model_id, nano_per_mtok, effective_at) VALUES (:id, :model, :price, :at)"
        await tx.execute(text(statement), row)
    customers = []
    for number in range(ACCOUNTS):
        customers.append(Customer(await an_account(p.db, 0), number % 5, Money()))
        async with p.db.transaction() as tx:
            await write_profile(tx, customers[-1].id, a_buyer(), BY)
    return customers


async def check_the_end(year: Year) -> None:
    """All balances of customers are zero, and documents, ledger and Stripe say one thing."""
    p = year.p
    await p.assert_right()
    await check_books(p)
    left = await p.rows("""
        SELECT l.kind, l.account_id, sum(p.amount_nano) FROM postings p
        JOIN ledger_accounts l ON l.id = p.ledger_account_id WHERE l.kind LIKE 'customer_%'
        GROUP BY 1, 2 HAVING sum(p.amount_nano) <> 0
    """)
    assert left == []
    [(documents, last, cents)] = await p.rows("SELECT count(*), max(number), sum(total_cents)::bigint FROM documents")
    [(booked,)] = await p.rows("""
        SELECT -sum(p.amount_nano)::bigint FROM entries e JOIN postings p ON p.entry_id = e.id
        JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.kind = 'customer_receivable' WHERE e.kind = 'invoice'
    """)
    assert (documents, int(str(cents)) * CENT) == (last, int(str(booked)))
    async with p.db.transaction() as tx:
        for stored in await list_documents(tx, limit=20):
            assert (await verify(tx, stored)).faults == ()
    [(paid,)] = await p.rows("SELECT sum(paid_cents)::bigint FROM topups")
    assert paid == sum(one["amount"] for one in p.world.all("charge"))


def test_a_year_of_all_kinds_of_customers_closes_to_the_nano(
    database_url: str, redis_url: str, renderer: Renderer
) -> None:
    print(f"seed {SEED}, {ACCOUNTS:,} accounts, {CALLS:,} calls", flush=True)
    with StripeServer() as stripe, capture_logs():
        asyncio.run(live(database_url, redis_url, stripe, renderer))
