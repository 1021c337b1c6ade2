"""Credit follows the payment: once, in any order, and only where Stripe's objects are those of our own row."""

import asyncio
from collections.abc import Callable

from billing.stripe import sweep
from billing.stripe.topup_rules import TopupStatus
from tests.builders.billing import an_account
from tests.builders.stripe import Payments, payments, run_story
from tests.harness.stripe_server import Fault

# What a customer of 100.00 pays: the code that was typed, the tax of their country, and each ledger account in cents.
# discount % | tax % | customer_credit | stripe_clearing | stripe_fees | others
PAID = """
0   |  0 | 10000 |  -9680 | -320 |
0   | 19 | 10000 | -11525 | -375 | tax_payable:DE 1900
20  | 10 | 10000 |  -8515 | -285 | tax_payable:DE 800, promotional_contra -2000
100 | 19 | 10000 |      0 |    0 | promotional_contra -10000
"""


def test_what_is_paid_is_booked(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        for line in PAID.strip().splitlines():
            discount, tax, credit, clearing, fees, others = (cell.strip() for cell in line.split("|"))
            expected = {"customer_credit": int(credit), "stripe_clearing": int(clearing), "stripe_fees": int(fees)}
            expected |= {name: int(cents) for name, cents in (one.split() for one in others.split(", ") if one)}
            p.world.discount_percent, p.world.tax_percent = int(discount), int(tax)
            before = await p.sums()
            topup = await p.buy(await an_account(p.db, 0), 10_000)
            assert topup.status is TopupStatus.PAID
            booked = {name: cents - before.get(name, 0) for name, cents in (await p.sums()).items()}
            assert booked == {name: expected.get(name, 0) for name in booked | expected}, line
        # The same events again, in another order, change nothing.
        entries = await p.entries()
        await p.hear(reversed(p.world.events))
        assert await p.entries() == entries

    run_story(database_url, redis_url, story, automatic_tax=True)


def test_a_method_that_settles_later_credits_when_it_settles(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        good, bad = await p.open(account, 2_000), await p.open(account, 3_000)
        for topup in (good, bad):
            p.world.pay(str(topup.session_id), settles_later=True)
        await p.hear()
        assert [(await p.read(one)).status for one in (good, bad)] == [TopupStatus.PROCESSING] * 2
        assert "customer_credit" not in await p.sums()
        p.world.settle(str(good.session_id))
        p.world.settle(str(bad.session_id), succeeds=False)
        await p.hear()
        assert [kind for kind, _ in await p.mails()] == ["payment_failed"]
        assert [(await p.read(one)).status for one in (good, bad)] == [TopupStatus.PAID, TopupStatus.FAILED]
        assert (await p.sums())["customer_credit"] == 2_000

    run_story(database_url, redis_url, story)


def test_pages_that_decline_and_expire_credit_nothing(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        topup = await p.open(account, 2_000)
        p.world.decline(str(topup.session_id))
        await p.hear()
        assert (await p.read(topup)).status is TopupStatus.OPEN
        p.world.expire(str(topup.session_id))
        await p.hear()
        assert (await p.read(topup)).status is TopupStatus.EXPIRED
        assert await p.entries() == []

    run_story(database_url, redis_url, story)


CHANGES: dict[str, Callable[[dict[str, object], dict[str, object]], object]] = {
    "amount": lambda session, intent: session.update(amount_subtotal=1),
    "total": lambda session, intent: session.update(amount_total=1),
    "received": lambda session, intent: intent.update(amount_received=1_999),
    "currency": lambda session, intent: session.update(currency="eur"),
    "customer": lambda session, intent: session.update(customer="cus_of_another"),
    "payer": lambda session, intent: intent.update(customer="cus_of_another"),
    "reference": lambda session, intent: session.update(client_reference_id="topup_" + "0" * 32),
    "mode": lambda session, intent: session.update(livemode=True),
}


def test_whatever_is_not_as_ordered_is_for_a_person_and_credits_nothing(database_url: str, redis_url: str) -> None:
    async def running() -> None:
        async with payments(database_url, redis_url) as p:
            account = await an_account(p.db, 0)
            for change in CHANGES.values():
                topup = await p.open(account, 2_000)
                session = p.world.pay(str(topup.session_id))
                change(session, p.world.find("payment_intent", session["payment_intent"]))
                await p.hear()
                assert (await p.read(topup)).status is TopupStatus.REVIEW
            assert [kind for _, kind, _ in await p.entries() if kind == "customer_credit"] == []
            reviews = await p.rows("SELECT cause, count(*) FROM payment_reviews GROUP BY 1")
            assert reviews == [("not_as_ordered", len(CHANGES))]

    asyncio.run(running())


def test_metadata_is_no_proof(database_url: str, redis_url: str) -> None:
    """A payment that names another account's top-up, and one that is nobody's: both are for a person."""

    async def running() -> None:
        async with payments(database_url, redis_url) as p:
            one, other = await an_account(p.db, 0), await an_account(p.db, 0)
            victim, topup = await p.open(one, 2_000), await p.open(other, 2_000)
            session = p.world.pay(str(topup.session_id))
            p.world.find("payment_intent", session["payment_intent"])["metadata"] = {"topup": victim.reference}
            events = [event for event in p.world.events if event["type"].startswith("payment_intent")]
            await p.hear(events)
            assert (await p.read(victim)).status is TopupStatus.OPEN
            assert await p.rows("SELECT cause FROM payment_reviews") == [("not_ours",)]
            # The session itself is in order, and credits the account that ordered it.
            await p.hear()
            assert ((await p.read(victim)).status, (await p.read(topup)).status) == (
                TopupStatus.OPEN,
                TopupStatus.PAID,
            )

    asyncio.run(running())


FAULTS = [
    Fault("/v1/customers", 429),
    Fault("/v1/customers", 500, acted=True),
    Fault("/v1/customers", acted=True),
    Fault("/v1/checkout/sessions", 500),
    Fault("/v1/checkout/sessions", 500, acted=True),
    Fault("/v1/checkout/sessions", acted=True, times=3),
    Fault("/v1/checkout/sessions/", 429, times=2, method="GET"),
    Fault("/v1/payment_intents/", 500, method="GET"),
    Fault("/v1/charges/", acted=True, method="GET"),
    Fault("/v1/balance_transactions/", 429, method="GET"),
]


def test_stripe_may_fail_before_or_after_it_acted_and_there_is_one_effect(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        for number, fault in enumerate(FAULTS, start=1):
            account = await an_account(p.db, 0)
            p.stripe.faults.append(Fault(**vars(fault)))
            topup = await p.buy(account, 1_000)
            assert topup.status is TopupStatus.PAID, fault
            assert (await p.sums())["customer_credit"] == 1_000 * number
            assert all(one.times == 0 for one in p.stripe.faults)
        # Each account has one customer here, whatever Stripe was made to make.
        assert await p.rows("SELECT count(*) FROM stripe_customers") == [(len(FAULTS),)]

    run_story(database_url, redis_url, story)


def test_a_page_that_stripe_refuses_fails_and_is_shown_to_a_person(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        topup = await p.order(account, 2_000)
        p.stripe.faults.append(Fault("/v1/checkout/sessions", 400))
        await p.act()
        failed = await p.read(topup)
        assert (failed.status, failed.session_id) == (TopupStatus.FAILED, None)
        assert "order it again" in failed.problem
        assert await p.rows("SELECT cause FROM payment_reviews") == [("refused",)]

    run_story(database_url, redis_url, story)


def test_what_never_came_is_read_from_stripes_lists(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        topup = await p.open(account, 2_000)
        p.world.pay(str(topup.session_id))
        assert await sweep.sweep_events(p.context) > 0
        assert await sweep.sweep_events(p.context) == 0
        await p.act()
        assert (await p.read(topup)).status is TopupStatus.PAID

    run_story(database_url, redis_url, story)


def test_money_of_an_unknown_kind_keeps_the_check_red(database_url: str, redis_url: str) -> None:
    async def running() -> None:
        async with payments(database_url, redis_url) as p:
            await p.buy(await an_account(p.db, 0), 2_000)
            p.world.pay_out(1_000)
            await sweep.sweep_transactions(p.context)
            assert await sweep.clearing_difference(p.context) == 0
            p.world.transaction_of_unknown_kind(-77)
            await sweep.sweep_transactions(p.context)
            assert await sweep.clearing_difference(p.context) == 77
            assert await p.rows("SELECT cause FROM payment_reviews") == [("unknown_kind",)]

    asyncio.run(running())
