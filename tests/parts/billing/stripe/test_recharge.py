"""Auto-recharge: by a person's consent alone, one attempt at a time, one effect of each, and it stops by itself."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from billing.stripe import recharges
from billing.stripe.act import work_once
from billing.stripe.recharge_moves import stop_closed
from billing.stripe.recharge_rules import RechargeStatus
from billing.stripe.recharges import NothingSaved, RuleChanged, TooManyConsents
from billing.stripe.refund_rules import RefundStatus
from billing.values import Hold
from store.ids import AccountId
from tests.builders.billing import an_account
from tests.builders.stripe import CENT, Payments, payments, run_story, spend, usage_of
from tests.builders.values import a_payer
from tests.harness.stripe_server import Fault


async def a_low_account(p: Payments, behaviour: str = "pays") -> AccountId:
    """It bought 30.00 with a card that is saved, has 5.00 left, and buys 25.00 below 10.00, at most 60.00 a month."""
    account = await an_account(p.db, 0)
    await p.save(account, 3_000, behaviour)
    await p.consent(account, 1_000, 2_500, 6_000)
    await spend(p, account, 2_500 * CENT)
    return account


async def credit(p: Payments, account: AccountId) -> int:
    async with p.db.transaction() as tx:
        return (await recharges.read_need(tx, account)).credit_nano // CENT


async def statuses(p: Payments, account: AccountId) -> list[str]:
    """Of its attempts and of their top-ups."""
    rows = await p.rows(
        "SELECT r.status, t.status FROM recharges r JOIN topups t ON t.id = r.topup_id"
        f" WHERE r.account_id = '{account}' ORDER BY r.created_at, r.topup_id"
    )
    return [f"{one} {other}" for one, other in rows]


def test_low_credit_is_recharged_within_the_months_most(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        p.world.tax_percent = 19
        account = await a_low_account(p)
        assert [await p.recharge() for _ in range(3)] == [1, 0, 0]
        assert (await credit(p, account), await statuses(p, account)) == (3_000, ["paid paid"])
        await spend(p, account, 2_500 * CENT)
        await p.recharge()
        assert await credit(p, account) == 3_000
        # A third would pass 60.00; the customer is told once.
        await spend(p, account, 2_500 * CENT)
        assert [await p.recharge() for _ in range(3)] == [0, 0, 0]
        assert [kind for kind, _ in await p.mails()] == ["recharge_done"] * 2 + ["recharge_limit_reached"]
        # Every event of all that, twice and backwards, changes nothing.
        entries = await p.entries()
        await p.hear()
        await p.hear(reversed(p.world.events))
        assert await p.entries() == entries
        # What was recharged is refunded as what was ordered on a page.
        (row,) = await p.refund(account)
        newest = (await p.attempts(account))[-1]
        facts = (row.topup_id, row.status, row.credit_cents, row.tax_cents)
        assert facts == (newest.topup_id, RefundStatus.SUCCEEDED, 500, 95)
        assert await p.rows("SELECT count(*) FROM payment_reviews") == [(0,)]

    run_story(database_url, redis_url, story, automatic_tax=True)


def test_nothing_but_a_consent_switches_it_on(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        await p.buy(account, 3_000)
        with pytest.raises(NothingSaved):
            await p.consent(account, 1_000, 2_500, 6_000)
        customer = await p.save(account, 500)
        await spend(p, account, 3_400 * CENT)
        assert await p.recharge() == 0
        stored = await p.consent(account, 1_000, 2_500, 6_000, "first")
        assert (stored.consented_by, "below 10.00 USD, charge 25.00 USD" in stored.words) == ("Ann Lee", True)
        with pytest.raises(RuleChanged):
            await p.consent(account, 1_000, 2_600, 6_000, "first")
        async with p.db.transaction() as tx:
            assert await recharges.switch_off(tx, account, actor="key", reason="tests") is not None
        # The same request again, another purchase, and a card that is saved anew: off stays off.
        assert not (await p.consent(account, 1_000, 2_500, 6_000, "first")).is_on
        await p.save(account, 500)
        p.world.save_card(customer)
        await spend(p, account, 500 * CENT)
        assert (await p.recharge(), await p.attempts(account)) == (0, [])
        # Whoever sets it again and again is stopped.
        for _ in range(recharges.CONSENTS_A_DAY - 1):
            await p.consent(account, 1_000, 2_500, 6_000)
        with pytest.raises(TooManyConsents):
            await p.consent(account, 1_000, 2_500, 6_000)
        for change in (
            "INSERT INTO recharge_rules SELECT account_id, (SELECT max(version) + 1 FROM recharge_rules), true,"
            " threshold_cents, amount_cents, month_max_cents, '', '', '', 'x', '', 'k' FROM recharge_rules"
            " WHERE version = 1",
            "UPDATE recharge_rules SET is_on = true WHERE version = 2",
            "UPDATE recharge_rules SET consented_by = 'Bob' WHERE version = 1",
            "DELETE FROM recharge_rules",
        ):
            with pytest.raises(DBAPIError):
                await p.rows(change)
        # The name goes with the billing profile; the words stay, and a repeated request is the same still.
        async with p.db.transaction() as tx:
            await recharges.erase_consents(tx, account)
        kept = await p.consent(account, 1_000, 2_500, 6_000, "first")
        assert (kept.consented_by, kept.words) == ("erased", stored.words)

    run_story(database_url, redis_url, story)


def test_calls_that_cross_the_threshold_at_once_and_two_processes_buy_once(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        await p.save(account, 3_000)
        await p.consent(account, 1_000, 2_500, 6_000)
        await p.billing.settle()
        holds = await asyncio.gather(*(p.billing.admit(a_payer(account), 100 * CENT) for _ in range(25)))

        async def call(hold: object) -> None:
            assert isinstance(hold, Hold)
            await p.billing.charging.charge(hold, usage_of(100 * CENT))

        async def jobs() -> int:
            started = 0
            for _ in range(8):
                started += sum(await asyncio.gather(*(recharges.start_needed(p.db) for _ in range(4))))
                await recharges.request_due(p.db)
                await work_once(p.context)
            return started

        *_, one, other = await asyncio.gather(*(call(hold) for hold in holds), jobs(), jobs())
        await p.recharge()
        assert len(await p.attempts(account)) == 1, (one, other)
        assert (await credit(p, account), await statuses(p, account)) == (3_000, ["paid paid"])
        assert len([one for one in p.world.all("charge") if one["amount"] == 2_500]) == 1

    run_story(database_url, redis_url, story)


def test_a_decline_backs_off_twice_and_then_it_is_off(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await a_low_account(p, "declined")
        await p.recharge()
        (attempt,) = await p.attempts(account)
        pauses = []
        for tries in (1, 2):
            (attempt,) = await p.attempts(account)
            assert (attempt.status, attempt.tries) == (RechargeStatus.DECLINED, tries)
            pauses.append(round((attempt.look_at - attempt.changed_at).total_seconds() / 3_600))
            # Before its time nothing is tried; events of the decline change nothing.
            await p.hear()
            assert await p.recharge() == 0
            assert (await p.attempts(account))[0].tries == tries
            await p.recharge(later=True)
        assert pauses == [1, 12]
        await p.recharge()
        assert await statuses(p, account) == ["failed failed"]
        rule = await p.rule(account)
        assert (rule.is_on, rule.reason, rule.actor) == (False, "A payment was declined three times.", "process:jobs")
        assert [kind for kind, _ in await p.mails()] == ["payment_failed", "recharge_off"]
        assert [one["status"] for one in p.world.all("invoice")] == ["void"]
        assert await p.recharge(later=True) == 0
        # A card that pays comes in time: the second try takes it.
        other = await a_low_account(p, "declined")
        await p.recharge()
        customer = await p.customer(other)
        p.world.choose_card(customer, p.world.save_card(customer)["id"])
        await p.recharge(later=True)
        assert (await statuses(p, other), await credit(p, other)) == (["paid paid"], 3_000)

    run_story(database_url, redis_url, story)


def test_a_payment_to_be_confirmed_mails_a_link_and_stops(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        confirmed, forgotten = await a_low_account(p, "authentication"), await a_low_account(p, "authentication")
        for _ in range(3):
            await p.recharge()
        assert [kind for kind, _ in await p.mails()] == ["recharge_confirm"] * 2
        (attempt,) = await p.attempts(confirmed)
        async with p.db.transaction() as tx:
            url = await tx.scalar(text("SELECT url FROM topups WHERE id = :id"), {"id": attempt.topup_id})
        assert any(str(url) in facts for _, facts in await p.mails())
        assert [one["attempt_count"] for one in p.world.all("invoice")] == [1, 1]
        p.world.confirm(str(attempt.invoice_id))
        await p.hear()
        assert (await statuses(p, confirmed), await credit(p, confirmed)) == (["paid paid"], 3_000)
        assert (await p.rule(confirmed)).is_on
        # After a week the other is given up.
        await p.recharge(later=True)
        assert (await statuses(p, forgotten), (await p.rule(forgotten)).is_on) == (["failed failed"], False)

    run_story(database_url, redis_url, story)


def test_a_method_that_settles_later_is_credited_when_it_settles(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        good, bad = await a_low_account(p, "later"), await a_low_account(p, "later")
        await p.recharge()
        assert await statuses(p, good) == await statuses(p, bad) == ["processing processing"]
        await p.recharge(later=True)
        for account, succeeds in ((good, True), (bad, False)):
            (attempt,) = await p.attempts(account)
            p.world.settle_invoice(str(attempt.invoice_id), succeeds=succeeds)
        await p.hear()
        assert (await statuses(p, good), await credit(p, good)) == (["paid paid"], 3_000)
        assert (await statuses(p, bad), await credit(p, bad)) == (["failed failed"], 500)
        assert ((await p.rule(good)).is_on, (await p.rule(bad)).is_on) == (True, False)

    run_story(database_url, redis_url, story)


def test_what_is_not_needed_any_more_is_canceled_and_never_charged(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        by_hand, off = await a_low_account(p, "declined"), await a_low_account(p, "declined")
        await p.recharge()
        await p.buy(by_hand, 5_000)
        async with p.db.transaction() as tx:
            await recharges.switch_off(tx, off, actor="key", reason="tests")
        await p.recharge(later=True)
        assert await statuses(p, by_hand) == await statuses(p, off) == ["canceled expired"]
        assert [one["status"] for one in p.world.all("invoice")] == ["void", "void"]
        kinds = [kind for kind, _ in await p.mails()]
        assert ((await p.rule(by_hand)).is_on, kinds) == (True, ["payment_failed"] * 2)

    run_story(database_url, redis_url, story)


def test_a_closed_account_buys_nothing_and_its_rule_is_off(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await a_low_account(p, "declined")
        await p.recharge()
        owner = await asyncpg.connect(database_url)
        try:
            await owner.execute("UPDATE accounts SET status = 'closed' WHERE id = $1", account)
        finally:
            await owner.close()
        await p.recharge(later=True)
        assert await statuses(p, account) == ["canceled expired"]
        for _ in range(2):
            await stop_closed(p.context)
        rule = await p.rule(account)
        assert (rule.is_on, rule.version, rule.reason) == (False, 2, "The account was closed.")
        assert await p.rows("SELECT consented_by FROM recharge_rules WHERE is_on") == [("erased",)]
        assert await p.recharge() == 0

    run_story(database_url, redis_url, story)


FAULTS = [
    Fault("/v1/invoices", 429, times=2),
    Fault("/v1/invoices", 500, acted=True),
    Fault("/v1/invoices", acted=True),
    Fault("/v1/invoiceitems", 500, acted=True),
    Fault("/v1/invoiceitems", acted=True),
    Fault("/v1/invoices/", 500, acted=True),
    Fault("/v1/invoices/", acted=True, times=2),
    Fault("/v1/customers/", 500, method="GET"),
    Fault("/v1/invoice_payments", 429, method="GET"),
    Fault("/v1/invoices/", 500, acted=True, suffix="/pay"),
    Fault("/v1/invoices/", acted=True, suffix="/pay"),
    Fault("/v1/invoices/", 500, suffix="/pay"),
]


def test_stripe_may_fail_before_or_after_it_acted_and_there_is_one_payment(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await a_low_account(p)
        await p.consent(account, 1_000, 2_500, 100_000)
        for number, fault in enumerate(FAULTS, start=1):
            if number > 1:
                await spend(p, account, 2_500 * CENT)
            p.stripe.faults.append(Fault(**vars(fault)))
            await p.recharge()
            p.stripe.prune_keys()
            await p.recharge(later=True)
            assert await statuses(p, account) == ["paid paid"] * number, fault
            assert len([one for one in p.world.all("charge") if one["amount"] == 2_500]) == number, fault
        assert all(one.times == 0 for one in p.stripe.faults)

    run_story(database_url, redis_url, story)


def test_what_goes_wrong_switches_it_off_and_is_for_a_person(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        # Stripe cannot work out the tax; the card is gone; a payment is disputed.
        nowhere, gone, disputed = await a_low_account(p), await a_low_account(p), await a_low_account(p)
        p.world.has_addresses = False
        p.world.remove_cards(await p.customer(gone))
        p.world.dispute(p.world.all("charge")[0]["id"])
        await p.hear()
        await p.recharge()
        p.world.has_addresses = True
        await p.recharge()
        reasons = {account: (await p.rule(account)).reason for account in (nowhere, gone, disputed)}
        assert reasons == {
            nowhere: "Stripe refused the payment.",
            gone: "Stripe refused the payment.",
            disputed: "A payment was disputed.",
        }
        kinds = sorted(kind for kind, _ in await p.mails())
        assert kinds == ["dispute_changed", "payment_disputed", *["recharge_off"] * 3]
        assert "refused" in {str(cause) for (cause,) in await p.rows("SELECT cause FROM payment_reviews")}
        # With an address, and without a card.
        without = await a_low_account(p)
        p.world.remove_cards(await p.customer(without))
        await p.recharge()
        assert "is saved any more" in (await p.rule(without)).reason

    run_story(database_url, redis_url, story, automatic_tax=True)


CHANGES: dict[str, Callable[[dict[str, object], dict[str, object]], object]] = {
    "total": lambda invoice, intent: invoice.update(total=1),
    "paid": lambda invoice, intent: invoice.update(amount_paid=2_499),
    "received": lambda invoice, intent: intent.update(amount_received=1),
    "currency": lambda invoice, intent: invoice.update(currency="eur"),
    "customer": lambda invoice, intent: invoice.update(customer="cus_of_another"),
    "payer": lambda invoice, intent: intent.update(customer="cus_of_another"),
    "mode": lambda invoice, intent: invoice.update(livemode=True),
}


def test_whatever_is_not_as_ordered_is_for_a_person_and_credits_nothing(database_url: str, redis_url: str) -> None:
    async def running() -> None:
        async with payments(database_url, redis_url) as p:
            account = await a_low_account(p, "authentication")
            for number, (name, change) in enumerate(CHANGES.items(), start=1):
                await p.consent(account, 1_000, 2_500, 100_000)
                await p.recharge()
                attempt = (await p.attempts(account))[-1]
                p.world.confirm(str(attempt.invoice_id))
                invoice = p.world.find("invoice", str(attempt.invoice_id))
                change(invoice, p.world.intent_of(invoice))
                await p.hear(p.world.events[-1:])
                assert (await statuses(p, account), await credit(p, account)) == (["review review"] * number, 500), name
                assert not (await p.rule(account)).is_on
            reviews = await p.rows("SELECT cause, count(*) FROM payment_reviews GROUP BY 1")
            assert reviews == [("not_as_ordered", len(CHANGES))]

    asyncio.run(running())
