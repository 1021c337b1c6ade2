"""Money as a state machine: whatever happens in whatever order, each account has what a model of sixty lines says.

Real Postgres, Redis and Stripe's client; after each step the books are checked. A few short runs by default;
``GIGAROUTER_TEST_RUNS`` has another number of longer ones (``make proofs``). A rule is a method: what it does to the
model stands beside what it does to the product.
"""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    consumes,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from structlog.testing import capture_logs

from billing.close.checklist import CHECKLIST
from billing.close.finish import advance
from billing.credits import GrantKind, grant
from billing.errors import ChargeUnknown
from billing.expiry import expire_due
from billing.lines import fit_lines, read_exposure, set_line
from billing.money import NanoUSD
from billing.periods import request_finish, sign_off, start
from billing.prices import set_price
from billing.reaper import reap
from billing.receivables import accrue, bill, pay
from billing.seal import seal
from billing.stripe import recharges
from billing.stripe.topups import Topup, find_topup
from billing.values import Cap, CapPeriod
from store.embedded import Embedded
from store.ids import AccountId
from store.postgres import Database
from tests.builders.billing import MODEL, PRICE
from tests.builders.database import insert_model
from tests.builders.stripe import Payments
from tests.harness.fresh_databases import fresh_databases
from tests.harness.money_books import catch_up, check_books
from tests.harness.money_contracts import PERCENTS, ContractState
from tests.harness.money_model import GIFTS
from tests.harness.money_state import (
    LIST_PRICE,
    LONGEST_S,
    MONTHS,
    NOW,
    SIGN_UP,
    THIS_MONTH,
    Account,
    Call,
    MoneyState,
    usage,
)

CENT = 10_000_000
COST = st.integers(1, 700 * CENT)
TOKENS = st.integers(1, 70_000)


class MoneyMachine(ContractState):
    """The rules; those of contracts and prices are in :mod:`tests.harness.money_contracts`."""

    accounts, calls, disputes = MoneyState.accounts, MoneyState.calls, MoneyState.disputes

    # -- accounts and credit ---------------------------------------------------------------------------------------

    @initialize(target=accounts, off=PERCENTS, owes=st.booleans())
    def open_first(self, off: int, owes: bool) -> Account:
        """With a percentage off and maybe in debt, so that runs have rounded prices, and gifts that pay no debt."""
        account = self.open_another(off)
        if owes:
            self.charge_month(account, 2 * SIGN_UP, SIGN_UP // 2)
        return account

    @precondition(lambda self: len(self.known) < 3)
    @rule(target=accounts, off=st.none() | PERCENTS)
    def open_account(self, off: int | None) -> Account:
        return self.open_another(off)

    @rule(account=accounts, cents=st.integers(500, 2_000))
    def top_up(self, account: Account, cents: int) -> None:
        account.topups.append(self.process.run(lambda p: p.buy(account.id, cents)))
        account.money.give("purchased", cents * CENT, topup=account.topups[-1].reference)

    @rule(account=accounts, threshold=st.integers(500, 3_000), cents=st.integers(500, 2_000))
    def recharge(self, account: Account, threshold: int, cents: int) -> None:
        """A card is saved and a person consents: each turn buys once while credit of its own is low. Then it is off."""
        if account.disputed:
            return

        async def save(p: Payments) -> Topup:
            topup = await p.order(account.id, 500, save_card=True)
            await p.act()
            self.stripe.world.pay(str((await p.read(topup)).session_id))
            await p.hear()
            await p.consent(account.id, threshold, cents, 10**6)
            return await p.read(topup)

        async def switch_off(p: Payments) -> None:
            async with p.db.transaction() as tx:
                await recharges.switch_off(tx, account.id, actor="tests", reason="tests")

        account.topups.append(self.process.run(save))
        account.money.give("purchased", 500 * CENT, topup=account.topups[-1].reference)
        for _ in range(2):
            own = account.money.left("purchased", *GIFTS)
            assert self.process.run(lambda p: p.recharge(later=True)) == (own < threshold * CENT)
            if own < threshold * CENT:
                account.topups.append(self.process.run(lambda p: newest_recharge(p, account.id)))
                account.money.give("purchased", cents * CENT, topup=account.topups[-1].reference)
        self.process.run(switch_off)

    @rule(account=accounts, amount=COST, kind=st.sampled_from(GIFTS), days=st.none() | st.integers(1, 5))
    def give(self, account: Account, amount: int, kind: str, days: int | None) -> None:
        async def story(p: Payments) -> None:
            until = None if days is None else NOW + timedelta(days=self.today + days)
            async with p.db.transaction() as tx:
                source = next(self.names)
                await grant(tx, account.id, NanoUSD(amount), GrantKind(kind), source_ref=source, expires_at=until)

        self.process.run(story)
        if days is None:
            account.money.give(kind, amount)
        else:
            account.money.give(kind, amount, day=self.today + days)

    @precondition(lambda self: self.nothing_in_flight())
    @rule(days=st.integers(1, 3))
    def days_pass(self, days: int) -> None:
        self.today += days

        async def story(p: Payments) -> None:
            b, at = p.billing, NOW + timedelta(days=self.today, minutes=1)
            await expire_due(b.db, b.admission, b.projection, b.generation, at)

        self.process.run(story)
        for account in self.known:
            account.money.expire(self.today)

    # -- calls -----------------------------------------------------------------------------------------------------

    @rule(account=accounts, tokens=TOKENS, share=st.integers(0, 100), month=st.sampled_from([*MONTHS, THIS_MONTH]))
    def call(self, account: Account, tokens: int, share: int, month: date) -> None:
        call = self.admit(account, tokens)
        if call is not None:
            self.charge(call, share, month)

    @rule(target=calls, account=accounts, tokens=TOKENS)
    def begin_call(self, account: Account, tokens: int) -> Any:
        return self.admit(account, tokens)

    @rule(call=consumes(calls), share=st.integers(0, 100), twice=st.booleans())
    def end_call(self, call: Call | None, share: int, twice: bool) -> None:
        if call is not None:
            self.charge(call, share, THIS_MONTH, twice=twice)

    @rule(call=consumes(calls), comes_late=st.booleans())
    def lose_call(self, call: Call | None, comes_late: bool) -> None:
        """A call whose process never says what became of it; when that comes late, it is too late."""
        if call is None:
            return

        async def story(p: Payments) -> None:
            await catch_up(p)
            await p.billing.make_overdue(call.account.id)
            await reap(p.db, p.billing.projection, LONGEST_S)
            if comes_late:
                with pytest.raises(ChargeUnknown):
                    await p.billing.charging.charge(call.hold, usage(call.hold, 1, THIS_MONTH))

        # All holds of the account are overdue then.
        if call.account.money.held == call.amount:
            self.process.run(story)
            call.account.money.held = 0
        else:
            self.charge(call, 0, THIS_MONTH)

    @rule(account=accounts, amount=st.none() | COST)
    def change_cap(self, account: Account, amount: int | None) -> None:
        account.cap = amount
        caps = () if amount is None else (Cap(NanoUSD(amount), CapPeriod.TOTAL),)
        account.payer = msgspec.structs.replace(account.payer, caps=caps)

    # -- money that goes back --------------------------------------------------------------------------------------

    @rule(account=accounts, share=st.integers(1, 100), fails=st.booleans(), at_stripe=st.booleans())
    def refund(self, account: Account, share: int, fails: bool, at_stripe: bool) -> None:
        if account.disputed or account.money.held or not account.topups:
            return
        topup = account.topups[-1]
        charge = self.stripe.world.find("charge", str(topup.charge_id))
        if at_stripe:
            cents = (charge["amount"] - charge["amount_refunded"]) * share // 100
            if cents:
                self.stripe.world.refund_by_hand(charge["id"], cents)
                self.process.run(lambda p: p.hear(self.stripe.world.events[-2:]))
                taken = account.money.take(cents * CENT, ["purchased"])
                account.money.debt += cents * CENT - taken.total()
            return
        lots = [lot for lot in account.money.lots if lot.topup == topup.reference]
        unrefunded = charge["amount"] - charge["amount_refunded"]
        cents = min(unrefunded, sum(lot.left for lot in lots) // CENT) * share // 100
        if not cents:
            return
        [row] = self.process.run(lambda p: p.refund(account.id, cents))
        assert (row.topup_id, row.status, row.credit_cents) == (topup.id, "succeeded", cents)
        account.money.take(cents * CENT, ["purchased"], topup=topup.reference)
        if fails:
            self.stripe.world.fail_refund(str(row.refund_id))
            self.process.run(lambda p: p.hear(self.stripe.world.events[-1:]))
            account.money.give("purchased", cents * CENT, topup=topup.reference)

    @rule(target=disputes, account=accounts)
    def dispute(self, account: Account) -> Any:
        if account.disputed or account.money.held or not account.topups:
            return None
        opened = self.stripe.world.dispute(str(account.topups[-1].charge_id))
        self.process.run(lambda p: p.hear(self.stripe.world.events[-1:]))
        account.disputed = True
        taken = account.money.take(opened["amount"] * CENT, ["purchased", *GIFTS])
        rest = opened["amount"] * CENT - taken.total()
        account.money.debt += rest
        taken["purchased"] += rest
        return account, opened["id"], taken

    @rule(found=consumes(disputes), won=st.booleans())
    def decide_dispute(self, found: Any, won: bool) -> None:
        if found is None:
            return
        account, dispute, taken = found
        first = len(self.stripe.world.events)
        self.stripe.world.close_dispute(dispute, won=won)
        self.process.run(lambda p: p.hear(self.stripe.world.events[first:]))
        for kind in ("purchased", *GIFTS):
            if won and taken[kind]:
                account.money.give(kind, taken[kind], topup=account.topups[-1].reference if kind == "purchased" else "")

    @rule(order=st.randoms(use_true_random=False))
    def hear_again(self, order: Any) -> None:
        """Every event comes again, in any order: nothing changes."""
        events = list(self.stripe.world.events)
        order.shuffle(events)
        self.process.run(lambda p: p.hear(events))

    # -- lines -----------------------------------------------------------------------------------------------------

    @rule(account=accounts, limit=st.just(0) | COST)
    def change_line(self, account: Account, limit: int) -> None:
        if account.money.held:
            return

        async def story(p: Payments) -> None:
            async with p.db.transaction() as tx:
                await set_line(tx, account.id, NanoUSD(limit), datetime.now(UTC))
            await p.billing.projection.refresh(account.id)
            b = p.billing
            await fit_lines(b.db, b.admission, b.projection, b.generation, datetime.now(UTC))

        self.process.run(story)
        account.money.limit = limit
        account.money.fit()

    @rule(account=accounts)
    def invoice_and_pay(self, account: Account) -> None:
        if account.money.held or not account.money.owed:
            return

        async def story(p: Payments) -> None:
            await seal(p.db)
            await accrue(p.db, datetime.now(UTC))
            async with p.db.transaction() as tx:
                owed = (await read_exposure(tx, account.id)).unbilled
                due = await bill(tx, account.id, owed, source_ref=next(self.names), due_on=THIS_MONTH)
                await pay(tx, due.id, due.open, datetime.now(UTC), source_ref=next(self.names))
            assert owed == account.money.owed

        self.process.run(story)
        account.money.owed = 0
        account.money.fit()

    # -- months, crashes -------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.closed) < len(MONTHS))
    @rule()
    def close_month(self) -> None:
        month = MONTHS[len(self.closed)]

        async def story(p: Payments) -> None:
            await catch_up(p)
            await check_books(p)
            async with p.db.transaction() as tx:
                await start(tx, month)
                for item in CHECKLIST:
                    if item.can_be_signed_off and item.name != "books_green":
                        await sign_off(tx, month, item.name, "tests", "cli:test")
                await request_finish(tx, month)
            assert await advance(p.db, datetime.now(UTC), LONGEST_S) == 1

        self.process.run(story)
        self.closed.add(month)

    @precondition(lambda self: self.nothing_in_flight())
    @rule()
    def wipe_redis(self) -> None:
        async def story(p: Payments) -> None:
            await p.billing.redis_command("FLUSHALL")

        self.process.run(story)

    @precondition(lambda self: self.nothing_in_flight())
    @rule()
    def crash(self) -> None:
        self.process.restart()


async def newest_recharge(p: Payments, account: AccountId) -> Topup:
    attempt = (await p.attempts(account))[-1]
    async with p.db.transaction() as tx:
        topup = await find_topup(tx, "id", attempt.topup_id)
    assert topup is not None
    return topup


@pytest.fixture
def months_template(servers: Embedded, template: str) -> Iterator[str]:
    """The template with tables for the usage of past months, and the model."""
    name = "machine_template"
    servers.postgres.query(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')

    async def fill() -> None:
        owner = Database(servers.postgres.url(name), as_owner=True)
        async with owner.transaction() as tx:
            months = {"first": MONTHS[0], "months": len(MONTHS)}
            await tx.execute(text("SELECT make_usage_months(:first, :months)"), months)
            await insert_model(tx, MODEL)
            await set_price(tx, MODEL, LIST_PRICE, PRICE.effective_at)
        await owner.close()

    asyncio.run(fill())
    yield name
    servers.postgres.query(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_money_is_what_the_model_says_whatever_happens(servers: Embedded, months_template: str) -> None:
    wanted = int(os.environ.get("GIGAROUTER_TEST_RUNS", "0"))
    with fresh_databases(servers, months_template) as urls, capture_logs():
        MoneyMachine.urls = urls
        run_state_machine_as_test(
            MoneyMachine,
            settings=settings(
                max_examples=wanted or 4,
                stateful_step_count=60 if wanted else 20,
                deadline=None,
                derandomize=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
