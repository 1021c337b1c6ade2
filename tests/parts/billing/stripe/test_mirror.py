"""Usage at Stripe's meters: days as totals, told once each whatever fails, and compared with the ledger."""

from datetime import UTC, datetime, time, timedelta

import pytest
from sqlalchemy import text

from billing.reconciliation import meter_run
from billing.reconciliation.differences import list_differences
from billing.reconciliation.values import Kind
from billing.stripe.errors import StripeUnavailable
from billing.stripe.mirror_rules import EVENT_NAMES, Measure
from billing.stripe.mirror_steps import mirror_usage
from billing.stripe.mirrors import Backlog, Mirror, find_mirror, read_backlog, switch
from gigarouter.telemetry.book_checks import BookChecks
from router.admin.meter_mirrors import switch_mirror
from router.changes.transaction import transact
from router.errors import Conflict
from store.ids import AccountId, wire
from tests.builders.billing import an_account, charge_as_older_release
from tests.builders.database import ACTOR, add_credit
from tests.builders.stripe import Payments, run_story, spend
from tests.harness.stripe_server import Fault

EVENTS = "/v1/billing/meter_events"
TODAY = datetime.now(UTC).date()


def at(days_ago: int) -> datetime:
    return datetime.combine(TODAY - timedelta(days=days_ago), time(0, 0, 1), UTC)


async def mirrored(p: Payments, days_ago: int = 10) -> AccountId:
    account = await an_account(p.db, 0)
    async with p.db.transaction() as tx:
        assert await switch(tx, account, TODAY - timedelta(days=days_ago), "tests", is_on=True)
    return account


async def use(p: Payments, account: AccountId, *calls: tuple[int, int]) -> None:
    """Calls of so many tokens, and as many nano-dollars, of so many days ago."""
    await charge_as_older_release(p.db, account, [(cost, at(days_ago)) for cost, days_ago in calls])


async def mirror(p: Payments) -> Mirror:
    """A turn of the job, and how the mirror stands after it."""
    await mirror_usage(p.context, datetime.now(UTC))
    return await find_mirror_of(p)


async def find_mirror_of(p: Payments) -> Mirror:
    [(account,)] = await p.rows("SELECT account_id FROM meter_mirrors")
    async with p.db.transaction() as tx:
        found = await find_mirror(tx, AccountId(account))  # type: ignore[arg-type]
    assert found is not None
    return found


async def backlog(p: Payments) -> Backlog:
    async with p.db.transaction() as tx:
        return await read_backlog(tx)


async def at_stripe(p: Payments, account: AccountId) -> dict[Measure, dict[int, int]]:
    """What each meter has, by how many days ago."""
    customer = await p.customer(account)
    meters = {one["event_name"]: one["id"] for one in p.world.all("billing.meter")}
    return {
        measure: {
            (TODAY - datetime.fromtimestamp(day, UTC).date()).days: int(value)
            for day, value in p.world.days_of(meters[name], customer).items()
        }
        for measure, name in EVENT_NAMES.items()
    }


async def settle(p: Payments) -> None:
    """An hour passes since Stripe was told: its sums have everything."""
    p.world.sum_events()
    async with p.db.transaction() as tx:
        await tx.execute(text("UPDATE metered_days SET sent_at = sent_at - interval '2 hours'"))


async def compare(p: Payments) -> list[tuple[Kind, str, int]]:
    """What the comparison finds, which is what is open in the queue."""
    result = await meter_run.reconcile(p.context)
    async with p.db.transaction() as tx:
        queue = await list_differences(tx, is_open=True, scope=meter_run.SCOPE)
    assert {one.object for one in result.found} <= {one.object for one in queue}
    return [(one.kind, one.object.partition(":acct_")[2][33:], one.amount) for one in queue]


@pytest.mark.parametrize("by_arrival", [False, True])
def test_a_day_is_told_as_its_total_so_far_and_a_late_call_as_a_later_total(
    database_url: str, redis_url: str, by_arrival: bool
) -> None:
    """Whether Stripe's newest event of a day is the last by its timestamp or the last that came."""

    async def story(p: Payments) -> None:
        p.world.by_arrival = by_arrival
        account = await mirrored(p)
        await use(p, account, (100, 3), (20, 3), (7, 0))
        await mirror(p)
        expected = {3: 120, 0: 7}
        assert await at_stripe(p, account) == {Measure.TOKENS: expected, Measure.COST: expected}
        await use(p, account, (5, 3), (1, 2))
        async with p.db.transaction() as tx:
            await add_credit(tx, account, 1_000)
        await p.act()
        await spend(p, account, 500)
        for _ in range(2):
            await mirror(p)
            assert await at_stripe(p, account) == {
                Measure.TOKENS: {3: 125, 2: 1, 0: 8},
                Measure.COST: {3: 125, 2: 1, 0: 507},
            }
        assert p.stripe.count("POST", EVENTS) == 4 + 6
        assert (await find_mirror_of(p)).waiting == 0
        await settle(p)
        assert await compare(p) == []

    run_story(database_url, redis_url, story)


@pytest.mark.parametrize(
    ("fault", "a_day_later"),
    [(Fault(EVENTS, acted=True), False), (Fault(EVENTS, acted=True), True), (Fault(EVENTS, 500, acted=True), False)],
)
def test_killed_between_telling_and_noting_it_tells_again_and_nothing_is_twice(
    database_url: str, redis_url: str, fault: Fault, a_day_later: bool
) -> None:
    async def story(p: Payments) -> None:
        account = await mirrored(p)
        await use(p, account, (100, 3))
        p.stripe.faults.append(Fault(EVENTS, fault.status, fault.acted))
        with pytest.raises(StripeUnavailable):
            await mirror(p)
        assert (await find_mirror_of(p)).waiting == 2
        if a_day_later:
            # Stripe knows identifiers for a day.
            p.world.forget_identifiers()
        await mirror(p)
        assert await at_stripe(p, account) == {Measure.TOKENS: {3: 100}, Measure.COST: {3: 100}}
        assert (await find_mirror_of(p)).waiting == 0

    run_story(database_url, redis_url, story)


def test_while_stripe_is_down_for_two_days_days_wait_and_are_then_told_once(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await mirrored(p)
        await use(p, account, (1, 3))
        await mirror(p)
        p.stripe.faults.append(Fault("/v1/billing", 503, times=10**6))
        for day in (2, 2, 1, 1, 0):
            await use(p, account, (10, day))
            with pytest.raises(StripeUnavailable):
                await mirror(p)
        found = await find_mirror_of(p)
        assert (found.waiting, found.oldest) == (6, TODAY - timedelta(days=2))
        assert await backlog(p) == Backlog(waiting=6)
        p.stripe.faults.clear()
        before = len(p.world.taken)
        await mirror(p)
        assert await backlog(p) == Backlog()
        assert len(p.world.taken) == before + 6
        assert (await at_stripe(p, account))[Measure.COST] == {3: 1, 2: 20, 1: 20, 0: 10}

    run_story(database_url, redis_url, story)


def test_what_is_too_old_for_stripe_is_not_told_and_is_a_difference(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await mirrored(p, 50)
        await use(p, account, (100, 40), (9, 34), (5, 5))
        await mirror(p)
        assert (await at_stripe(p, account))[Measure.COST] == {34: 9, 5: 5}
        found = await find_mirror_of(p)
        assert (found.waiting, found.fault) == (0, "too old for Stripe, which takes 35 days")
        await settle(p)
        day = TODAY - timedelta(days=40)
        expected = {(Kind.METER_DIFFERS, f"cost:{day}", -100), (Kind.METER_DIFFERS, f"tokens:{day}", 0)}
        for _ in range(2):
            assert set(await compare(p)) == expected

    run_story(database_url, redis_url, story)


def test_a_difference_is_queued_told_again_and_gone_once_stripe_is_right(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await mirrored(p)
        await use(p, account, (100, 3), (50, 2))
        p.world.is_late = True
        assert await compare(p) == [], "Stripe was told a moment ago, and has summed nothing yet"
        await settle(p)
        wrong = {"stripe_customer_id": await p.customer(account), "value": "130"}
        event = {"event_name": EVENT_NAMES[Measure.COST], "payload": wrong, "timestamp": int(at(3).timestamp()) + 9}
        p.world.take_event({**event, "identifier": "by hand"})
        # Whoever told that may tell again, later in the day than we did: then a person has to look.
        await settle(p)
        day = TODAY - timedelta(days=3)
        assert await compare(p) == [(Kind.METER_DIFFERS, f"cost:{day}", 30)]
        for _ in range(12):
            await mirror(p)
            await settle(p)
            await compare(p)
        assert await compare(p) == []
        assert (await at_stripe(p, account))[Measure.COST] == {3: 100, 2: 50}

    run_story(database_url, redis_url, story)


def test_a_meter_that_adds_events_up_is_told_nothing(database_url: str, redis_url: str) -> None:
    """Of totals that each contain the one before it would make a sum of sums."""

    async def story(p: Payments) -> None:
        name = EVENT_NAMES[Measure.TOKENS]
        p.world.create_meter({"event_name": name, "display_name": name, "default_aggregation": {"formula": "sum"}})
        account = await mirrored(p)
        await use(p, account, (100, 3))
        await mirror(p)
        assert await at_stripe(p, account) == {Measure.TOKENS: {}, Measure.COST: {3: 100}}
        found = await find_mirror_of(p)
        assert found.waiting == 1
        checks = BookChecks(p.db)
        await checks.read()
        exposed = {sample.name: sample.value for one in checks.metrics() for sample in one.samples if not sample.labels}
        assert exposed == {"gigarouter_meter_mirror_waiting_days": 1, "gigarouter_meter_mirror_refused_days": 1}
        assert "not pre-aggregated by day" in found.fault

    run_story(database_url, redis_url, story)


def test_it_is_off_until_an_operator_switches_it_on_and_tells_nothing_once_it_is_off(
    database_url: str, redis_url: str
) -> None:
    async def story(p: Payments) -> None:
        account, other = await an_account(p.db, 0), await an_account(p.db, 0)
        for payer in (account, other):
            await use(p, payer, (100, 1), (7, 0))
        assert await mirror_usage(p.context, datetime.now(UTC)) == 0
        assert p.stripe.requests == []

        async def turn(is_on: bool) -> Mirror:
            return await transact(p.db, ACTOR, lambda work: switch_mirror(work, p.context.config, account, is_on=is_on))

        assert (await turn(True)).since == TODAY
        with pytest.raises(Conflict):
            await turn(True)
        await mirror(p)
        assert (await at_stripe(p, account))[Measure.COST] == {0: 7}, "from the day on which it was switched on"
        await turn(False)
        told = len(p.stripe.requests)
        await use(p, account, (7, 0))
        assert (await mirror(p)).is_on is False
        assert len(p.stripe.requests) == told
        audited = await p.rows(
            "SELECT subject, after->>'is_on' FROM audit WHERE action = 'meter_mirror.switch' ORDER BY id"
        )
        assert audited == [(wire(AccountId, account), "true"), (wire(AccountId, account), "false")]

    run_story(database_url, redis_url, story)
