"""Builds payments in one process: billing on real stores, the jobs' own functions, and the stand-in for Stripe."""

import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from sqlalchemy import text

from billing.reaper import mismatches
from billing.stripe import inbox, sweep
from billing.stripe.act import work_once
from billing.stripe.client import StripeClient
from billing.stripe.config import StripeConfig
from billing.stripe.context import StripeContext
from billing.stripe.events import read_notice
from billing.stripe.refunds import RefundOrder, RefundRow, order_refund
from billing.stripe.topups import Topup, find_topup, order_topup
from billing.stripe.values import Cents
from store.ids import AccountId, TopupId
from tests.builders.billing import Billing, billing
from tests.harness.stripe_server import KEY, StripeServer
from tests.harness.stripe_webhooks import SECRET, classic
from tests.harness.stripe_world import Json

_numbers = itertools.count(1)
_SUMS = text("""
    SELECT concat_ws(':', l.kind, nullif(l.detail, '')) AS name, sum(p.amount_nano)::bigint AS amount
    FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id GROUP BY 1 HAVING sum(p.amount_nano) <> 0
""")
_ENTRIES = text("""
    SELECT e.source_ref, l.kind, p.amount_nano / 10000000 AS cents FROM entries e JOIN postings p ON p.entry_id = e.id
    JOIN ledger_accounts l ON l.id = p.ledger_account_id ORDER BY e.id, p.leg
""")


def a_config(base_url: str, *, automatic_tax: bool = False) -> StripeConfig:
    return StripeConfig(
        secret_key=KEY,
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


@asynccontextmanager
async def payments(database_url: str, redis_url: str, *, automatic_tax: bool = False) -> AsyncIterator[Payments]:
    """Payments of one process, until the block ends; whatever broke Stripe's contract fails it."""
    with StripeServer() as stripe:
        async with payments_beside(stripe, database_url, redis_url, automatic_tax=automatic_tax) as p:
            yield p


@asynccontextmanager
async def payments_beside(
    stripe: StripeServer, database_url: str, redis_url: str, *, automatic_tax: bool = False
) -> AsyncIterator[Payments]:
    """Payments of one more process that meets the same Stripe."""
    async with billing(database_url, redis_url) as b:
        config = a_config(stripe.url, automatic_tax=automatic_tax)
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
