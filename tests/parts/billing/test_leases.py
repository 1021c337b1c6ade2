"""A charge belongs to a lease that Postgres still accepts at the commit: who was given up cannot charge any more."""

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from typing_extensions import override

from billing import charging
from billing.admission import Admission, Recount
from billing.credits import GrantKind, grant
from billing.errors import BillingUnavailable, ChargeRefused
from billing.expiry import expire_due
from billing.generation import DEAD_S, FENCED_S, Lease
from billing.money import NanoUSD
from billing.projection import account_key
from billing.values import Cap, CapPeriod, Denial, Denied, Hold, Payer, Quote
from store.ids import AccountId, RequestId
from tests.builders.billing import Billing, an_account, billing, usage_of
from tests.builders.values import a_payer

CALLS, COST = 20, 10
BREAKAGE = text(
    "SELECT sum(amount_nano) FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id"
    " WHERE l.kind = 'breakage'"
)


async def holds(b: Billing, payer: Payer, calls: int = CALLS) -> list[Hold]:
    admitted = await asyncio.gather(*(b.admit(payer, COST) for _ in range(calls)))
    assert all(isinstance(hold, Hold) for hold in admitted), "the account has credit for all of them"
    return [hold for hold in admitted if isinstance(hold, Hold)]


async def charged(b: Billing, admitted: list[Hold]) -> int:
    charges: list[Awaitable[object]] = [b.charging.charge(hold, usage_of(COST)) for hold in admitted]
    outcomes = await asyncio.gather(*charges, return_exceptions=True)
    assert all(outcome is None or not isinstance(outcome, Exception | None) for outcome in outcomes) or all(
        isinstance(outcome, ChargeRefused) for outcome in outcomes
    ), outcomes
    return sum(not isinstance(outcome, Exception) for outcome in outcomes)


async def overdraft(b: Billing) -> int:
    async with b.db.transaction() as tx:
        return int(await tx.scalar(text("SELECT coalesce(sum(overdraft_nano), 0) FROM usage_events")) or 0)


async def expel(b: Billing) -> None:
    """As others do at a barrier, when they have not heard of it for long."""
    async with b.db.transaction() as tx:
        await tx.execute(text("DELETE FROM processes WHERE id = :id"), {"id": b.generation.lease.process_id})


async def in_redis(b: Billing, account: AccountId) -> tuple[str | None, str | None]:
    redis = await b.redis(account)
    return redis.get("bal"), redis.get("held")


def test_what_a_silent_process_held_is_given_away_once_and_it_goes_on_under_a_new_id(
    database_url: str, redis_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as silent, billing(database_url, redis_url) as other:
            account = await an_account(silent.db, CALLS * COST)
            payer = a_payer(account)
            held = await holds(silent, payer)
            silent.fall_silent()
            await asyncio.sleep(DEAD_S + 0.2)
            await other.redis_command("FLUSHALL")
            assert await charged(other, await holds(other, payer)) == CALLS

            assert await charged(silent, held[1:]) == 0, "the process does not know yet that it was expelled"
            before = silent.generation.lease.process_id
            silent.beating = asyncio.ensure_future(silent.generation.run())
            assert await silent.generation.ready(5)
            assert silent.generation.lease.process_id != before
            assert await charged(silent, held[:1]) == 0, "it knows now"
            assert silent.charging.fenced == CALLS
            assert (await overdraft(other), await in_redis(other, account)) == (0, ("0", "0"))
            await silent.assert_books_are_right()
            again = a_payer(await an_account(silent.db, CALLS * COST))
            assert await charged(silent, await holds(silent, again)) == CALLS
            silent.fall_silent()

    asyncio.run(story())


def test_a_barrier_waits_for_a_commit_in_flight_and_then_counts_it(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as other:
            account = await an_account(one.db, COST)
            (hold,) = await holds(one, a_payer(account), 1)
            async with one.db.transaction() as tx:
                # Whoever posts to an account locks it, so the commit stops in its middle.
                await tx.execute(text("SELECT FROM ledger_accounts WHERE account_id = :id FOR UPDATE"), {"id": account})
                charge = asyncio.ensure_future(one.charge(hold, COST))
                await asyncio.sleep(0.2)
                # The process gives the call up; Postgres has not.
                one.projection.abandon(hold.id)
                await other.redis_command("DEL", account_key(account))
                spending = asyncio.ensure_future(other.admit(a_payer(account), COST))
                await asyncio.sleep(3)
                assert not spending.done(), "the charge in flight is neither committed nor refused"
                assert not other.generation.is_ready
            await charge
            refused = await spending
            assert isinstance(refused, Denied)
            assert refused.reason is Denial.CREDIT
            assert await overdraft(one) == 0

    asyncio.run(story())


def test_a_charge_that_meets_the_next_generation_is_charged_in_that(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as other:
            account = await an_account(one.db, CALLS * COST)
            held = await holds(one, a_payer(account))
            for _ in range(3):
                await other.redis_command("FLUSHALL")
                assert isinstance(await other.admit(a_payer(account), COST), Denied)
            number = one.generation.number
            assert number == other.generation.number
            # As a commit that was sent before this process had entered the newest generation.
            process_id = held[0].process_id
            one.generation._leases[process_id] = Lease(process_id, number - 1)
            charging = asyncio.ensure_future(charged(one, held))
            await asyncio.sleep(0.1)
            one.generation._leases[process_id] = Lease(process_id, number)
            assert await charging == CALLS
            await one.settle()
            assert (await overdraft(one), await in_redis(one, account)) == (0, ("0", "0"))

    asyncio.run(story())


def test_a_redis_that_is_wiped_again_after_the_holds_were_asserted_starts_another_generation(
    database_url: str, redis_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as one, billing(database_url, redis_url) as other:
            account = await an_account(one.db, CALLS * COST)
            held = await holds(one, a_payer(account))
            before = one.generation.number
            await one.generation.on_connect("another Redis")
            assert await one.generation.ready(10)
            assert await other.generation.ready(10)
            # Nobody has loaded the account in this generation, so that it is gone shows nowhere in Redis.
            await one.redis_command("FLUSHALL")
            refused = await other.admit(a_payer(account), COST)
            assert isinstance(refused, Denied)
            assert refused.reason is Denial.CREDIT_HELD
            assert one.generation.number == before + 2
            assert await charged(one, held) == CALLS

    asyncio.run(story())


@pytest.mark.parametrize(("fault", "answer"), [("expelled", "expelled"), ("older", "older")])
def test_a_lease_that_comes_late_is_not_given(database_url: str, redis_url: str, fault: str, answer: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            b.fall_silent()
            number = b.generation.number
            if fault == "expelled":
                await expel(b)
            else:
                await b.generation.start_next(number, "tests")
            async with b.db.transaction() as tx:
                enter = text("SELECT enter_generation(:id, :number, '{}', '{}')")
                values = {"id": b.generation.lease.process_id, "number": number}
                assert await tx.scalar(enter, values) == answer

    asyncio.run(story())


def test_a_process_that_missed_a_generation_holds_nothing_in_it(database_url: str, redis_url: str) -> None:
    """What the admission script's ``stale`` is for: a call passed its process' own fence, then a generation went by."""

    async def story() -> None:
        async with billing(database_url, redis_url) as late, billing(database_url, redis_url) as other:
            account = await an_account(late.db, 10 * COST)
            payer = a_payer(account)
            await holds(late, payer, 1)
            late.fall_silent()
            await expel(late)
            await other.generation.start_next(other.generation.number, "tests")
            assert isinstance(await other.admit(payer, COST), Hold)
            assert late.generation.is_ready, "its last heartbeat is not old enough yet"
            with pytest.raises(BillingUnavailable):
                await late.admit(payer, COST)
            assert (await in_redis(other, account))[1] == str(COST)

    asyncio.run(story())


def test_a_process_that_cannot_reach_postgres_admits_nothing(database_url: str, redis_url: str) -> None:
    """The process' own fence: what it admitted now it could not charge, and an endpoint would work in vain."""

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 10 * COST)
            await holds(b, a_payer(account), 1)
            b.fall_silent()
            await asyncio.sleep(FENCED_S)
            with pytest.raises(BillingUnavailable):
                await b.admit(a_payer(account), COST)
            assert (await in_redis(b, account))[1] == str(COST)

    asyncio.run(story())


def test_what_calls_in_flight_hold_of_a_cap_is_not_held_twice(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            payer = a_payer(await an_account(b.db, 1_000), cap=Cap(NanoUSD(COST), CapPeriod.TOTAL))
            await holds(b, payer, 1)
            refused = await b.admit(payer, 1)
            assert isinstance(refused, Denied)
            assert refused.reason is Denial.CAP_HELD

    asyncio.run(story())


class Paused(Admission):
    """An admission whose first hold waits before it is used, as in a process that is frozen just then."""

    def __init__(self, b: Billing) -> None:
        super().__init__(b.projection, b.generation)
        self.holds, self.goes_on = asyncio.Event(), asyncio.Event()

    @override
    async def admit(
        self,
        request_id: RequestId,
        payer: Payer,
        quote: Quote,
        now: datetime,
        deadline_at: float,
        recount: Recount | None,
    ) -> Hold | Denied:
        hold = await super().admit(request_id, payer, quote, now, deadline_at, recount)
        self.holds.set()
        await self.goes_on.wait()
        return hold


def test_a_grant_expires_by_what_is_left_after_the_lease_of_its_expiry_was_lost(
    database_url: str, redis_url: str
) -> None:
    """Others spend of it meanwhile: an expiry that took what it once held would take their credit."""

    async def story() -> None:
        async with billing(database_url, redis_url) as jobs, billing(database_url, redis_url) as serve:
            account = await an_account(jobs.db, 0)
            payer, now = a_payer(account), jobs.db.clock.now() + timedelta(hours=2)
            async with jobs.db.transaction() as tx:
                due = now - timedelta(hours=1)
                await grant(tx, account, NanoUSD(10 * COST), GrantKind.PURCHASED, source_ref="tests:1", expires_at=due)
            paused = Paused(jobs)
            late = asyncio.create_task(expire_due(jobs.db, paused, jobs.projection, jobs.generation, now, wait_s=0.1))
            await paused.holds.wait()
            jobs.fall_silent()
            await expel(jobs)
            await serve.redis_command("FLUSHALL")
            first, second = await holds(serve, payer, 2)
            await serve.charge(first, COST)
            paused.goes_on.set()
            jobs.beating = asyncio.ensure_future(jobs.generation.run())
            assert await late == 0, "what a call holds is taken when that has ended"
            await serve.charge(second, COST)
            await serve.settle()
            assert await expire_due(jobs.db, jobs.admission, jobs.projection, jobs.generation, now) <= 1
            await serve.settle()
            assert (await overdraft(serve), await in_redis(serve, account)) == (0, ("0", "0"))
            async with serve.db.transaction() as tx:
                assert await tx.scalar(BREAKAGE) == 8 * COST
            await serve.assert_books_are_right()
            jobs.fall_silent()

    asyncio.run(story())


def test_in_memory_durability_the_house_pays_for_what_was_delivered_and_is_refused_later(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most a queue's worth: a call that finds it full is not delivered."""
    monkeypatch.setattr(charging, "QUEUE_MAX", 3)

    async def story() -> None:
        async with billing(database_url, redis_url, "memory") as b:
            account = await an_account(b.db, 5 * COST)
            delivered, undelivered = await holds(b, a_payer(account), 3), await holds(b, a_payer(account), 1)
            b.fall_silent()
            await expel(b)
            async with b.db.transaction() as tx:
                await tx.execute(text("DELETE FROM charge_leases"))
            for hold in delivered:
                await b.charge(hold, COST)
            with pytest.raises(BillingUnavailable):
                await b.charge(undelivered[0], COST)
            b.beating = asyncio.ensure_future(b.generation.run())
            await b.charging.drain()
            assert (b.charging.fenced, await overdraft(b)) == (3, 0)
            assert (await b.projection.balance(account)).balance == 5 * COST, "the customer does not"
            await b.assert_books_are_right()
            b.fall_silent()

    asyncio.run(story())
