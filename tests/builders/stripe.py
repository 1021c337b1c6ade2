"""Builds payments in one process: billing on real stores, the jobs' own functions, and the stand-in for Stripe."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
from sqlalchemy import text

from billing.money import NanoUSD
from billing.reaper import mismatches
from billing.stripe import inbox, recharges, sweep
from billing.stripe.act import work_once
from billing.stripe.client import StripeClient
from billing.stripe.config import StripeConfig
from billing.stripe.context import StripeContext
from billing.stripe.events import read_notice
from billing.stripe.recharge_rules import Rule
from billing.stripe.recharges import Recharge, StoredRule, read_rule
from billing.stripe.refunds import RefundOrder, RefundRow, order_refund
from billing.stripe.topups import Topup, find_topup, order_topup
from billing.stripe.values import Cents
from billing.values import Hold, Usage
from store.ids import AccountId, TopupId
from tests.builders.billing import MODEL, Billing, billing
from tests.builders.values import a_payer, a_usage
from tests.harness.stripe_server import KEY, StripeServer
from tests.harness.stripe_webhooks import SECRET, classic
from tests.harness.stripe_world import Json

_numbers = itertools.count(1)
CENT = 10_000_000
_SUMS = text("""
    SELECT concat_ws(':', l.kind, nullif(l.detail, '')) AS name, sum(p.amount_nano)::bigint AS amount
    FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id GROUP BY 1 HAVING sum(p.amount_nano) <> 0
""")
_ENTRIES = text("""
    SELECT e.source_ref, l.kind, p.amount_nano / 10000000 AS cents FROM entries e JOIN postings p ON p.entry_id = e.id
    JOIN ledger_accounts l ON l.id = p.ledger_account_id ORDER BY e.id, p.leg
""")


def a_config(base_url: str, *, automatic_tax: bool = False, key: str = KEY) -> StripeConfig:
    return StripeConfig(
        secret_key=key,
        webhook_secrets=(SECRET,),
        base_url=base_url,
        return_url="http://127.0.0.1/",
        automatic_tax=automatic_tax,
        topup_min=Cents(500),
        topup_max=Cents(1_000_000),
    )


class Payments:
    """One process's payments, and the Stripe that it meets."""

    def __init__(self, billing: Billing, stripe: StripeServer, context: StripeContext) -> None:
        self.billing = billing
        self.stripe = stripe
        self.world = stripe.world
        self.context = context
        self.db = billing.db

    async def order(self, account: AccountId, cents: int, key: str = "", *, save_card: bool = False) -> Topup:
        """Order credit; the page is made by :meth:`act`."""
        async with self.db.transaction() as tx:
            return await order_topup(
                tx, account, Cents(cents), save_card=save_card, actor="tests", key=key or f"key-{next(_numbers)}"
            )

    async def buy(self, account: AccountId, cents: int) -> Topup:
        """Order, pay, and hear of it: credited."""
        topup = await self.open(account, cents)
        self.world.pay(str(topup.session_id))
        await self.hear()
        return await self.read(topup)

    async def open(self, account: AccountId, cents: int) -> Topup:
        """Order, and have the page made."""
        topup = await self.order(account, cents)
        await self.act()
        return await self.read(topup)

    async def save(self, account: AccountId, cents: int, behaviour: str = "pays") -> str:
        """Buy credit and save the card, which from now on is of this behaviour; the customer's id at Stripe."""
        topup = await self.order(account, cents, save_card=True)
        await self.act()
        session = self.world.pay(str((await self.read(topup)).session_id))
        await self.hear()
        customer = str(session["customer"])
        self.world.behaviours[self.world.all("payment_method")[0]["id"]] = behaviour
        return customer

    async def consent(
        self, account: AccountId, threshold: int, amount: int, month_max: int, key: str = ""
    ) -> StoredRule:
        """A person consents to recharges."""
        rule = Rule(threshold=Cents(threshold), amount=Cents(amount), month_max=Cents(month_max))
        async with self.db.transaction() as tx:
            stored, _ = await recharges.consent(
                tx, account, rule, consented_by="Ann Lee", actor="key", key=key or f"key-{next(_numbers)}"
            )
        return stored

    async def recharge(self, *, later: bool = False) -> int:
        """A turn of the job: order what is needed, go on with what is due, or will be; how many were ordered."""
        if later:
            async with self.db.transaction() as tx:
                await tx.execute(text("UPDATE recharges SET look_at = now() WHERE look_at > now()"))
        started = await recharges.start_needed(self.db)
        await recharges.request_due(self.db)
        await self.act()
        return started

    async def rule(self, account: AccountId) -> StoredRule:
        async with self.db.transaction() as tx:
            found = await read_rule(tx, account)
        assert found is not None
        return found

    async def catch_up(self) -> None:
        """Hear of everything from Stripe's lists, and act on it."""
        for _ in range(2):
            await sweep.sweep_events(self.context)
            await sweep.sweep_transactions(self.context)
            await self.act()

    async def customer(self, account: AccountId) -> str:
        """An account's id at Stripe."""
        ((found,),) = await self.rows(f"SELECT customer_id FROM stripe_customers WHERE account_id = '{account}'")
        return str(found)

    async def attempts(self, account: AccountId) -> list[Recharge]:
        statement = text("SELECT * FROM recharges WHERE account_id = :account ORDER BY created_at, topup_id")
        async with self.db.transaction() as tx:
            rows = await tx.execute(statement, {"account": account})
            return [msgspec.convert(dict(row._mapping), Recharge) for row in rows]

    async def mails(self) -> list[tuple[str, str]]:
        """What customers are told: the kind and the facts."""
        return [(str(k), str(f)) for k, f in await self.rows("SELECT kind, facts::text FROM mails ORDER BY id")]

    async def refund(self, account: AccountId, cents: int | None = None, key: str = "") -> list[RefundRow]:
        """Order a refund, and act on it."""
        order = RefundOrder(
            account_id=account,
            amount=None if cents is None else Cents(cents),
            topup_id=None,
            reason="tests",
            actor="tests",
            key=key or f"key-{next(_numbers)}",
        )
        async with self.db.transaction() as tx:
            await order_refund(tx, order)
        await self.act()
        async with self.db.transaction() as tx:
            return await order_refund(tx, order)

    async def hear(self, events: Iterable[Json] | None = None) -> None:
        """Store events as webhooks bring them, all that there are by default, and act on them."""
        for event in list(self.world.events if events is None else events):
            async with self.db.transaction() as tx:
                await inbox.store(tx, read_notice(classic(event)), "webhook")
        await self.act()

    async def act(self) -> None:
        """Work on all that is due, and on what is due after a pause, too."""
        for _ in range(30):
            await self._tell_redis()
            while await work_once(self.context):
                await self._tell_redis()
            async with self.db.transaction() as tx:
                due = "UPDATE stripe_work SET due_at = now() WHERE requested > done AND due_at > now()"
                if not (await tx.execute(text(due))).rowcount:
                    return
        raise AssertionError(await self.rows("SELECT subject, fault FROM stripe_work WHERE requested > done"))

    async def _tell_redis(self) -> None:
        """What a notification of new credit does in the product's processes."""
        for behind in await mismatches(self.db, self.billing.projection):
            await self.billing.projection.refresh(behind.account_id)

    async def read(self, topup: Topup) -> Topup:
        async with self.db.transaction() as tx:
            found = await find_topup(tx, "id", TopupId(topup.id))
        assert found is not None
        return found

    async def sums(self) -> dict[str, int]:
        """Each ledger account in cents; all sum to zero."""
        async with self.db.transaction() as tx:
            return {row.name: row.amount // 10_000_000 for row in await tx.execute(_SUMS)}

    async def entries(self) -> list[tuple[str, str, int]]:
        async with self.db.transaction() as tx:
            return [(row.source_ref, row.kind, int(row.cents)) for row in await tx.execute(_ENTRIES)]

    async def rows(self, statement: str) -> list[tuple[object, ...]]:
        async with self.db.transaction() as tx:
            return [tuple(row) for row in await tx.execute(text(statement))]

    async def assert_right(self) -> None:
        """The books balance, Redis follows, and the ledger's clearing account is what Stripe has of ours."""
        await sweep.sweep_transactions(self.context)
        await self.act()
        await sweep.sweep_transactions(self.context)
        assert await sweep.clearing_difference(self.context) == 0
        await self.billing.settle()
        await self.billing.assert_books_are_right()


async def spend(p: Payments, account: AccountId, nano: int) -> None:
    """One call that costs so much, however few its tokens are."""
    await p.billing.settle()
    hold = await p.billing.admit(a_payer(account), nano)
    assert isinstance(hold, Hold), hold
    await p.billing.charging.charge(hold, usage_of(nano))
    await p.billing.settle()


def usage_of(cost: int) -> Usage:
    return a_usage(
        model_id=MODEL,
        tokens=1,
        provider_tokens=1,
        cost=NanoUSD(cost),
        provider_cost=NanoUSD(1),
        occurred_at=datetime.now(UTC),
    )


@asynccontextmanager
async def payments(database_url: str, redis_url: str, *, automatic_tax: bool = False) -> AsyncIterator[Payments]:
    """Payments of one process, until the block ends; whatever broke Stripe's contract fails it."""
    with StripeServer() as stripe:
        async with payments_beside(stripe, database_url, redis_url, automatic_tax=automatic_tax) as p:
            yield p


def run_story(
    database_url: str, redis_url: str, story: Callable[[Payments], Awaitable[None]], *, automatic_tax: bool = False
) -> None:
    """Tell a story of payments; at its end the books are right, and are Stripe's."""

    async def running() -> None:
        async with payments(database_url, redis_url, automatic_tax=automatic_tax) as p:
            await story(p)
            await p.assert_right()

    asyncio.run(running())


@asynccontextmanager
async def payments_beside(
    stripe: StripeServer, database_url: str, redis_url: str, *, automatic_tax: bool = False
) -> AsyncIterator[Payments]:
    """Payments of one more process that meets the same Stripe."""
    config = a_config(stripe.url, automatic_tax=automatic_tax)
    async with payments_at(database_url, redis_url, config, stripe) as p:
        yield p


@asynccontextmanager
async def payments_at(
    database_url: str, redis_url: str, config: StripeConfig, stripe: StripeServer
) -> AsyncIterator[Payments]:
    """Payments of one process that meets the Stripe of these settings, which may be another than the stand-in."""
    async with billing(database_url, redis_url) as b:
        client = StripeClient(config)
        context = StripeContext(
            db=b.db,
            client=client,
            config=config,
            admission=b.admission,
            projection=b.projection,
            generation=b.generation,
        )
        try:
            yield Payments(b, stripe, context)
        finally:
            await client.close()
