"""Every change of a balance is listed with its cause, once, whatever is booked meanwhile: opening to closing."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import admission
from billing.credits import GrantKind
from billing.entry_calls import calls_of, explain_charge
from billing.money import NanoUSD
from billing.movements import Movement, Span, find_movement, list_movements, read_span
from billing.shares import GrantShare, charge_detail, share
from billing.take_back import Reason, TakeBack, take_back
from billing.usage import UsageFilter, find_usage, sum_usage
from billing.values import Hold
from router.api.periods import Period, month_of
from store.ids import AccountId, GrantId, new_id
from store.postgres import Database
from tests.builders.billing import Billing, an_account, billing
from tests.builders.database import add_credit
from tests.builders.values import a_payer

RUNNING = text("""
    SELECT kind, posted_nano FROM ledger_accounts WHERE account_id = :account AND posted_nano IS NOT NULL
""")


async def walk(db: Database, account: AccountId, period: Period, page: int) -> tuple[Span, list[Movement]]:
    """All pages of a list, each in a transaction of its own."""
    async with db.transaction() as tx:
        span = await read_span(tx, account, period.since, period.until)
    found: list[Movement] = []
    while True:
        async with db.transaction() as tx:
            after = found[-1].position if found else span.start
            rows = await list_movements(tx, account, span, after, page)
        found += rows
        if not rows:
            return span, found


async def live(b: Billing, account: AccountId, chance: random.Random, months: list[datetime]) -> None:
    """Grants, calls of several months, some beyond the credit, refunds and expiry, in an order by chance."""
    for _ in range(8):
        match chance.randrange(4):
            case 0:
                kind = chance.choice([GrantKind.PROMOTIONAL, GrantKind.GOODWILL, GrantKind.PURCHASED])
                async with b.db.transaction() as tx:
                    await add_credit(tx, account, chance.randrange(1, 400), kind)
                await b.projection.refresh(account)
            case 1:
                wanted = TakeBack(
                    account_id=account,
                    reason=chance.choice([Reason.REFUND, Reason.DISPUTE]),
                    source=f"refund:{new_id()}",
                    amount=NanoUSD(chance.randrange(1, 300)),
                    owe_rest=chance.random() < 0.5,
                )
                await take_back(b.db, b.admission, b.projection, b.generation, wanted, wait_s=0.5)
            case _:
                admitted = [await b.admit(a_payer(account), chance.randrange(1, 60)) for _ in range(4)]
                holds = [hold for hold in admitted if isinstance(hold, Hold)]
                await asyncio.gather(
                    *(
                        b.charge(hold, chance.randrange(hold.quote.amount_max + 1), at=chance.choice(months))
                        for hold in holds
                    )
                )
        await b.settle()


@pytest.mark.parametrize("seed", range(3))
def test_opening_plus_movements_is_closing_and_a_month_is_its_usage(
    database_url: str, redis_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing here frees a hold while another call waits for its credit.
    monkeypatch.setattr(admission, "HELD_WAIT_S", 0.05)
    chance = random.Random(seed)
    now = datetime.now(UTC)
    this = month_of(now)
    before = month_of(this.since - timedelta(days=1))
    months = [now, this.since + timedelta(seconds=1), this.since - timedelta(seconds=1), before.since]

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account, other = await an_account(b.db, 500), await an_account(b.db, 70)
            await live(b, account, chance, months)
            always = Period(before.since - timedelta(days=400), now + timedelta(days=1))
            cuts = sorted(before.since + (now - before.since) * chance.random() for _ in range(2))
            spans = [always, before, this, Period(always.since, cuts[0]), Period(*cuts), Period(cuts[1], always.until)]
            for period in spans:
                span, found = await walk(b.db, account, period, chance.randrange(1, 5))
                assert span.opening_balance + sum(one.balance_change for one in found) == span.closing_balance
                assert span.opening_debt + sum(one.debt_change for one in found) == span.closing_debt
                assert (span.closing_balance == 0 or span.closing_debt == 0) or period is not always
                assert [one.at for one in found] == sorted(one.at for one in found)
                assert len({one.entry for one in found}) == len(found)
                assert all(period.since <= one.at < period.until for one in found)
            span, found = await walk(b.db, account, always, 3)
            async with b.db.transaction() as tx:
                running: dict[str, int] = dict((await tx.execute(RUNNING, {"account": account})).all())
                assert running == {"customer_credit": span.closing_balance, "customer_overdraft": -span.closing_debt}
                assert (span.opening_balance, span.opening_debt) == (0, 0)
                for month in (before, this):
                    sums = await sum_usage(tx, UsageFilter(month.since, month.until, account_id=account), ["account"])
                    used = sum(row.charged + row.overdraft for row in sums)
                    moved = [one for one in found if one.kind == "usage" and month.since <= one.at < month.until]
                    assert sum(one.debt_change - one.balance_change for one in moved) == used
                for one in found:
                    paid = sum(grant.amount for grant in one.paid_by)
                    assert one.given is not None or paid == -one.balance_change
                    assert one.given is None or one.given.amount == one.balance_change - one.debt_change
                    assert await find_movement(tx, other, one.entry) is None
                    if one.kind == "usage":
                        await assert_calls_explain(tx, account, one)

    asyncio.run(story())


async def assert_calls_explain(tx: AsyncConnection, account: AccountId, movement: Movement) -> None:
    """The calls of an entry are all of it, and what grants paid of each is what they paid of it."""
    calls = await calls_of(tx, account, movement)
    assert sum(call.cost_nano for call in calls) == movement.debt_change - movement.balance_change
    paid: dict[GrantId, int] = {}
    for call in calls:
        usage = await find_usage(tx, call.request_id)
        assert usage is not None
        detail = await explain_charge(tx, usage)
        assert detail.grants is not None
        assert sum(grant.amount for grant in detail.grants) == call.charged_nano
        for grant in detail.grants:
            paid[grant.grant] = paid.get(grant.grant, 0) + grant.amount
    assert paid == {grant.grant: grant.amount for grant in movement.paid_by}


def test_what_is_booked_between_two_pages_is_in_neither(database_url: str) -> None:
    """Also an entry of a transaction that began, and got its time, before the first page was read."""

    async def story() -> None:
        db = Database(database_url)
        account = await an_account(db, 100)
        early = await db.connect()
        begun = early.transaction()
        await begun.start()
        for _ in range(3):
            async with db.transaction() as tx:
                await add_credit(tx, account, 10)
        now = datetime.now(UTC)
        async with db.transaction() as tx:
            span = await read_span(tx, account, now - timedelta(days=1), now + timedelta(days=1))
            first = await list_movements(tx, account, span, span.start, 2)
        ledger_account = await early.fetchval(
            "SELECT id FROM ledger_accounts WHERE account_id = $1 AND kind = 'customer_credit'", account
        )
        entry = new_id()
        await early.execute(
            "UPDATE ledger_accounts SET posted_nano = posted_nano + 5, version = version + 1 WHERE id = $1",
            ledger_account,
        )
        await early.execute(
            "INSERT INTO entries (id, kind, source_ref, account_id) VALUES ($1, 'correction', 'c', $2)", entry, account
        )
        await early.execute(
            """INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)
            SELECT $1::uuid, 1, id, 5, version FROM ledger_accounts WHERE id = $2
            UNION ALL SELECT $1::uuid, 2, '00000000-0000-7000-8000-000000000004'::uuid, -5, NULL""",
            entry,
            ledger_account,
        )
        await begun.commit()
        async with db.transaction() as tx:
            rest = await list_movements(tx, account, span, first[-1].position, 10)
        assert len(first + rest) == 4
        assert rest[-1].balance == span.closing_balance == 130
        _, anew = await walk(db, account, Period(span.since, span.until), 2)
        assert entry in {one.entry for one in anew}
        assert [one.kind for one in anew].count("correction") == 1
        await early.close()
        await db.close()

    asyncio.run(story())


amounts = st.integers(1, 50)


@settings(max_examples=60, deadline=None)
@given(st.lists(amounts, max_size=5), st.lists(amounts, max_size=6))
def test_grants_pay_calls_one_after_the_other_and_all_of_them(grants: list[int], calls: list[int]) -> None:
    shares = [GrantShare(GrantId(new_id()), "purchased", NanoUSD(amount)) for amount in grants]
    ends, paid = 0, {one.grant: 0 for one in shares}
    for cost in calls:
        part = share(shares, ends, ends + cost)
        assert sum(one.amount for one in part) == max(0, min(ends + cost, sum(grants)) - min(ends, sum(grants)))
        for one in part:
            paid[one.grant] += one.amount
        ends += cost
    reached = min(ends, sum(grants))
    assert list(paid.values()) == list(spread(grants, reached))


def spread(grants: list[int], reached: int) -> Iterator[int]:
    for amount in grants:
        yield min(amount, reached)
        reached -= min(amount, reached)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**7), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_cost_is_its_exact_price_rounded_up_less_what_was_forgiven(tokens: int, price: int, held: int) -> None:
    whole = charge_detail(tokens, price, NanoUSD(0), ()).forgiven
    detail = charge_detail(tokens, price, NanoUSD(min(held, whole)), ())
    assert 0 <= detail.rounded_up_femto < 1_000_000
    assert detail.exact_femto + detail.rounded_up_femto - detail.forgiven * 1_000_000 == min(held, whole) * 1_000_000
