"""Money that goes back: refunds take credit first and give it back where they fail, disputes leave debt."""

import asyncio
import random

import msgspec
import pytest

from billing.credits import GrantKind
from billing.debt import read_debt
from billing.documents.requests import list_requests
from billing.stripe.refund_rules import RefundStatus
from billing.stripe.refunds import NotRefundable, RefundChanged
from billing.values import Hold
from gigarouter.topup_documents import request_refund_document, request_topup_document
from store.ids import AccountId
from tests.builders.billing import an_account
from tests.builders.database import add_credit
from tests.builders.stripe import CENT, Payments, run_story, spend, usage_of
from tests.builders.values import a_payer
from tests.harness.stripe_server import Fault


async def debt(p: Payments, account: AccountId) -> int:
    async with p.db.transaction() as tx:
        return await read_debt(tx, account) // CENT


def test_the_newest_is_refunded_first_with_its_tax_and_never_more_than_is_left(
    database_url: str, redis_url: str
) -> None:
    async def story(p: Payments) -> None:
        p.world.tax_percent = 19
        account = await an_account(p.db, 0)
        first, second = await p.buy(account, 1_000), await p.buy(account, 2_000)
        await spend(p, account, 300 * CENT + 1)  # of the first; a part of a cent is no cent
        with pytest.raises(NotRefundable) as refused:
            await p.refund(account, 2_700)
        assert refused.value.left == 2_699
        rows = await p.refund(account, 2_500, "key")
        parts = {row.topup_id: (row.credit_cents, row.tax_cents) for row in rows}
        assert parts == {second.id: (2_000, 380), first.id: (500, 95)}
        # The same key is the same refund; with another amount it is refused.
        assert await p.refund(account, 2_500, "key") == rows
        with pytest.raises(RefundChanged):
            await p.refund(account, 100, "key")
        await p.hear()
        await p.refund(account)
        await p.assert_right()
        sums = await p.sums()
        assert {name: sums.get(name, 0) for name in ("customer_credit", "refunds", "tax_payable:DE")} == {
            "customer_credit": 0,
            "refunds": 0,
            "tax_payable:DE": 570 - 380 - 95 - 37,
        }
        assert sum(one["amount"] for one in p.world.all("refund")) == 2_699 + 380 + 95 + 37

    run_story(database_url, redis_url, story, automatic_tax=True)


def test_what_calls_spend_meanwhile_is_not_refunded(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        await p.buy(account, 1_000)
        await p.billing.settle()
        hold = await p.billing.admit(a_payer(account), 400 * CENT)
        assert isinstance(hold, Hold)
        # It waits for the call, in turns, then goes on with what is free.
        refunding = asyncio.ensure_future(p.refund(account))
        await asyncio.sleep(0.2)
        await p.billing.charging.charge(hold, usage_of(250 * CENT + 3))
        (row,) = await refunding
        assert (row.status, row.credit_cents) == (RefundStatus.SUCCEEDED, 749)
        # The part of a cent that was taken with it is given back.
        assert await p.rows("SELECT posted_nano FROM ledger_accounts WHERE kind = 'customer_credit'") == [(CENT - 3,)]

    run_story(database_url, redis_url, story)


def test_a_refund_that_fails_gives_the_credit_back_which_can_be_refunded_again(
    database_url: str, redis_url: str
) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        await p.buy(account, 1_000)
        (row,) = await p.refund(account, 600)
        p.world.fail_refund(str(row.refund_id))
        await p.hear()
        await p.hear(reversed(p.world.events))
        assert (await p.sums())["customer_credit"] == 1_000
        assert await p.rows("SELECT status FROM refunds") == [("failed",)]
        (again,) = await p.refund(account)
        assert (again.status, again.credit_cents) == (RefundStatus.SUCCEEDED, 1_000)

    run_story(database_url, redis_url, story)


def test_a_refund_is_documented_once_and_one_that_came_back_is_invoiced_again(
    database_url: str, redis_url: str
) -> None:
    """However often and in whatever order Stripe tells of it; what somebody refunded at Stripe, too."""

    async def story(p: Payments) -> None:
        documents = {
            "issue_document": request_topup_document,
            "issue_refund_document": request_refund_document,
        }
        p.context = msgspec.structs.replace(p.context, **documents)
        p.world.tax_percent = 19
        account = await an_account(p.db, 0)
        topup = await p.buy(account, 1_000)
        (row,) = await p.refund(account, 600)
        await p.hear(random.sample(p.world.events, len(p.world.events)))
        p.world.refund_by_hand(str(topup.charge_id), 119)
        await p.hear()
        p.world.fail_refund(str(row.refund_id))
        for _ in range(2):
            await p.hear(random.sample(p.world.events, len(p.world.events)))
        async with p.db.transaction() as tx:
            requests = (await list_requests(tx, account_id=account))[::-1]
        facts = [
            (one.kind.value, one.source_ref.partition(":")[0], one.facts.net_cents, one.facts.tax_cents)
            for one in requests
        ]
        assert facts == [
            ("topup", "topup", 1_000, 190),
            ("credit_note", "refund", 600, 114),
            ("credit_note", "refund", 100, 19),
            ("topup", "topup", 600, 114),
        ]
        assert requests[1].facts.corrects_source == requests[0].source_ref == f"topup:{topup.reference}"

    run_story(database_url, redis_url, story, automatic_tax=True)


FAULTS = [
    Fault("/v1/refunds", 429, times=2),
    Fault("/v1/refunds", 500),
    Fault("/v1/refunds", 500, acted=True),
    Fault("/v1/refunds", acted=True),
]


def test_stripe_refunds_once_however_it_fails(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        for fault in FAULTS:
            await p.buy(account, 1_000)
            p.stripe.faults.append(Fault(**vars(fault)))
            (row,) = await p.refund(account)
            p.stripe.prune_keys()
            assert row.status is RefundStatus.SUCCEEDED
        assert [one["amount"] for one in p.world.all("refund")] == [1_000] * len(FAULTS)

    run_story(database_url, redis_url, story)


def test_a_refund_made_at_stripe_takes_its_credit_and_what_is_spent_is_debt(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        p.world.tax_percent = 10
        account = await an_account(p.db, 0)
        topup = await p.buy(account, 1_000)
        await spend(p, account, 700 * CENT)
        p.world.refund_by_hand(str(topup.charge_id), 880)
        await p.hear()
        await p.hear(reversed(p.world.events))
        assert await debt(p, account) == 500
        assert (await p.sums()).get("refunds", 0) == 0
        assert await p.rows("SELECT credit_cents, tax_cents, status FROM refunds") == [(800, 80, "succeeded")]

    run_story(database_url, redis_url, story, automatic_tax=True)


# Of 1000 purchased and 200 given, with so much spent before the dispute: the debt while it is open, what is left of the
# credit where it is lost, and where it is won; in cents.
DISPUTED = """
spent |    0 | 300 | 1200
owed  |    0 | 100 | 1000
lost  |  200 |   0 |    0
won   | 1200 | 900 |    0
"""


@pytest.mark.parametrize("won", [False, True])
def test_a_dispute_takes_the_credit_and_gives_it_back_where_it_is_won(
    database_url: str, redis_url: str, won: bool
) -> None:
    table = [line.split("|") for line in DISPUTED.strip().splitlines()]
    columns = {cells[0].strip(): [int(cell) for cell in cells[1:]] for cells in table}

    async def story(p: Payments) -> None:
        for number, spent in enumerate(columns["spent"]):
            account = await an_account(p.db, 0)
            topup = await p.buy(account, 1_000)
            async with p.db.transaction() as tx:
                await add_credit(tx, account, 200 * CENT, GrantKind.PROMOTIONAL)
            if spent:
                await spend(p, account, spent * CENT)
            dispute = p.world.dispute(str(topup.charge_id))
            await p.hear()
            assert await debt(p, account) == columns["owed"][number], spent
            p.world.close_dispute(dispute["id"], won=won)
            await p.hear()
            await p.hear(reversed(p.world.events))
            assert sum((await left_of(p, account)).values()) == columns["won" if won else "lost"][number], spent
            assert await debt(p, account) == (0 if won else columns["owed"][number]), spent
            assert await mailed(p, dispute["id"]) == [
                ("finance", "dispute_changed", "open"),
                ("finance", "dispute_changed", ended := "won" if won else "lost"),
                ("owners", "payment_disputed", "open"),
                ("owners", "payment_disputed", ended),
            ]

    run_story(database_url, redis_url, story)


async def mailed(p: Payments, dispute: str) -> list[tuple[object, ...]]:
    """Who is mailed what of a dispute: each state once, however often it was heard of."""
    return await p.rows(
        "SELECT coalesce(staff, CASE WHEN account_id IS NOT NULL THEN 'owners' END) AS whom, kind, facts->>'state'"
        f" FROM mails WHERE dedupe LIKE 'dispute:{dispute}:%' ORDER BY 1, 2, facts->>'state' <> 'open'"
    )


async def left_of(p: Payments, account: AccountId) -> dict[str, int]:
    rows = await p.rows(
        f"SELECT kind, sum(remaining_nano)::bigint FROM grants WHERE account_id = '{account}' GROUP BY 1"
    )
    return {str(kind): int(str(amount)) // CENT for kind, amount in rows}


def test_an_inquiry_and_a_warning_of_fraud_take_nothing_and_are_shown(database_url: str, redis_url: str) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        topup = await p.buy(account, 1_000)
        p.world.warn_of_fraud(str(topup.charge_id))
        inquiry = p.world.dispute(str(topup.charge_id), status="warning_needs_response")
        await p.hear()
        # It takes nothing, so it alarms nobody but finance.
        assert await mailed(p, inquiry["id"]) == [("finance", "dispute_changed", "inquiry")]
        assert (await p.sums())["customer_credit"] == 1_000
        causes = await p.rows("SELECT cause, account_id FROM payment_reviews ORDER BY 1")
        assert causes == [("dispute", account), ("fraud_warning", account)]
        # What is paid back while the bank asks is disputed no more: nobody owes it when it becomes a dispute.
        await p.refund(account, 400)
        p.world.escalate(inquiry["id"])
        await p.hear()
        assert await p.rows("SELECT amount_cents, credit_cents, status FROM disputes") == [(600, 600, "open")]
        assert (await left_of(p, account), await debt(p, account)) == ({"purchased": 0}, 0)

    run_story(database_url, redis_url, story)
