"""Each movement at Stripe is one entry; what is not is one row of a queue, however often it is looked for."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import asyncpg
import msgspec
import pytest

from billing.corrections import Correctable, Correction, Side
from billing.money import NanoUSD
from billing.reconciliation import differences, stripe_run
from billing.reconciliation.differences import DifferenceState
from billing.reconciliation.runs import RunKind, end_run, find_queued, list_runs, request_run
from billing.stripe import sweep
from billing.stripe.errors import StripeUnavailable
from router.admin.ledger_corrections import book_correction
from router.admin.reconciliation import resolve_difference
from router.changes.transaction import transact
from router.errors import Conflict, InvalidRequest
from store.ids import DifferenceId
from tests.builders.billing import an_account
from tests.builders.database import ACTOR
from tests.builders.stripe import CENT, Payments, payments, run_story
from tests.harness.stripe_server import Fault
from tests.harness.stripe_world import Json

# Nothing is young: what Stripe made in this second counts.
NOTHING = timedelta(seconds=-60)


async def run(p: Payments, *, young: timedelta = NOTHING) -> int:
    """As the jobs process does: one comparison that somebody asked for."""
    async with p.db.transaction() as tx:
        await request_run(tx, RunKind.STRIPE, "tests")
        queued = await find_queued(tx, RunKind.STRIPE)
    assert queued is not None
    result = await stripe_run.reconcile(p.context, settle_s=0.0, young=young)
    async with p.db.transaction() as tx:
        await end_run(tx, queued, examined=result.examined, found=len(result.found))
    return len(result.found)


async def queue(p: Payments) -> dict[tuple[str, str], int]:
    """What is open: kind and object, and how many cents."""
    async with p.db.transaction() as tx:
        rows = await differences.list_differences(tx, is_open=True)
    return {(row.kind.value, row.object): row.amount // 10_000_000 for row in rows}


LOST = "txn_lost"
ENTRY = "(SELECT entry_id FROM booked_facts WHERE source_ref = $1)"
OFF = (
    f"UPDATE postings SET amount_nano = amount_nano {{}} 10000000 WHERE entry_id = {ENTRY} AND ledger_account_id IN"
    " (SELECT id FROM ledger_accounts WHERE kind = 'stripe_clearing')"
)


async def plant(p: Payments, owner: asyncpg.Connection, payout: Json) -> dict[tuple[str, str], int]:
    """Plant a fault of each kind: what it is found as, and how many cents.

    Somebody who owns the database takes one entry's legs away, and changes another's; Stripe has a kind that nobody
    knows, and a payout that failed.
    """
    fee, refund = (
        next(one for one in p.world.all("balance_transaction") if one["type"] == kind) for kind in ("charge", "refund")
    )
    await owner.execute(OFF.format("+"), f"stripe:{refund['id']}")
    await owner.execute(f"DELETE FROM postings WHERE entry_id = {ENTRY}", f"stripe:{fee['id']}")
    await owner.execute(
        "INSERT INTO stripe_transactions (id, type, category, currency, amount_cents, fee_cents, net_cents, created_at,"
        " booked_at) VALUES ('txn_lost', 'payout', 'payout', 'usd', -5, 0, -5, now(), now())"
    )
    p.world.find("payout", payout["id"])["status"] = "failed"
    unknown = p.world.transaction_of_unknown_kind(77)
    return {
        ("entry_missing", fee["id"]): fee["net"],
        ("entry_differs", refund["id"]): 1,
        ("not_at_stripe", LOST): 5,
        ("payout_not_at_bank", payout["id"]): -1_000,
        ("unknown_kind", unknown["id"]): 77,
    }


async def story_of_all_kinds(p: Payments) -> None:
    account = await an_account(p.db, 0)
    topup = await p.buy(account, 10_000)
    await p.refund(account, 2_000)
    await p.hear()
    payout = p.world.pay_out(1_000)
    await p.act()
    assert await run(p) == 0
    assert await queue(p) == {}

    owner = await asyncpg.connect(p.db.url)
    await owner.execute("SET session_replication_role = replica")
    expected = await plant(p, owner, payout)
    for _ in range(2):
        assert await run(p) == 6
        found = await queue(p)
        assert found.pop(("balance_differs", "balance"))
        assert found == expected
    assert len(await p.rows("SELECT id FROM differences")) == 6, "each is one row"

    # It is right again: it goes by evidence alone. What is explained stays explained until its amount changes.
    refund = next(name for kind, name in expected if kind == "entry_differs")
    await owner.execute(OFF.format("-"), f"stripe:{refund}")
    p.world.find("payout", payout["id"])["status"] = "paid"
    ids = {row[1]: DifferenceId(row[0]) for row in await p.rows("SELECT id, object FROM differences")}  # type: ignore[arg-type]
    with pytest.raises(Exception, match="differences_explained"):
        async with p.db.transaction() as tx:
            await differences.resolve(tx, ids[LOST], "Ada", "", None)
    async with p.db.transaction() as tx:
        await differences.resolve(tx, ids[LOST], "Ada", "a test of last year", None)
    await run(p)
    states = {
        str(row[0]): row[1:] for row in await p.rows("SELECT object, gone_at IS NULL, resolved_by FROM differences")
    }
    assert states[refund] == (False, None)
    assert states[payout["id"]] == (False, None)
    assert states[LOST] == (True, "Ada")
    await owner.execute("UPDATE stripe_transactions SET amount_cents = -6, net_cents = -6 WHERE id = 'txn_lost'")
    await run(p)
    async with p.db.transaction() as tx:
        again = await differences.find_difference(tx, ids[LOST])
    assert again is not None
    assert (again.state, again.amount, again.reason) == (DifferenceState.OPEN, 60_000_000, "")
    await owner.close()
    assert topup.paid_cents == 10_000


def test_what_differs_is_one_row_until_evidence_or_a_person_closes_it(database_url: str, redis_url: str) -> None:
    tell(database_url, redis_url, story_of_all_kinds)


def tell(database_url: str, redis_url: str, story: Callable[[Payments], Awaitable[None]]) -> None:
    async def telling() -> None:
        async with payments(database_url, redis_url) as p:
            await story(p)

    asyncio.run(telling())


def test_what_is_on_its_way_is_no_difference_and_a_run_that_is_cut_off_closes_none(
    database_url: str, redis_url: str
) -> None:
    async def story(p: Payments) -> None:
        topup = await p.open(await an_account(p.db, 0), 3_000)
        p.world.pay(str(topup.session_id))
        (charge,) = p.world.all("balance_transaction")
        # Paid a moment ago, and no webhook yet: the balance differs, the movement itself may be on its way.
        assert await run(p, young=timedelta(minutes=15)) == 1
        assert list(await queue(p)) == [("balance_differs", "balance")]
        assert await run(p) == 2
        assert (await queue(p))["not_booked", charge["id"]] == charge["net"]
        await p.hear()
        p.stripe.faults.append(Fault("/v1/payouts", 500, method="GET"))
        with pytest.raises(StripeUnavailable):
            await stripe_run.reconcile(p.context, settle_s=0.0)
        assert len(await queue(p)) == 2
        assert await run(p) == 0
        assert await queue(p) == {}
        async with p.db.transaction() as tx:
            runs = await list_runs(tx, None, 10)
        assert [one.found for one in runs] == [0, 2, 1]

    tell(database_url, redis_url, story)


def test_a_movement_that_no_rule_knows_is_booked_by_a_person_and_the_books_are_right(
    database_url: str, redis_url: str
) -> None:
    async def story(p: Payments) -> None:
        account = await an_account(p.db, 0)
        await p.buy(account, 1_000)
        unknown = p.world.transaction_of_unknown_kind(-750)["id"]
        # In both directions, so that its mistake is put right by the same.
        wrong = Correction(
            debit=Side(Correctable.BANK),
            credit=Side(Correctable.STRIPE_CLEARING),
            amount=NanoUSD(750 * CENT),
            source=unknown,
            reason="tests",
        )
        right = msgspec.structs.replace(wrong, debit=Side(Correctable.STRIPE_FEES), source=f"{unknown}, again")
        back = msgspec.structs.replace(wrong, debit=wrong.credit, credit=wrong.debit, source=f"{unknown}, undone")
        assert await run(p) == 2
        assert await sweep.clearing_difference(p.context) == 750
        booked = [await transact(p.db, ACTOR, partial(book_correction, correction=one)) for one in (wrong, back, right)]
        assert await sweep.clearing_difference(p.context) == 0
        with pytest.raises(Conflict, match="was booked before"):
            await transact(p.db, ACTOR, partial(book_correction, correction=right))
        for side in (Side(Correctable.TAX_PAYABLE), Side(Correctable.STRIPE_CLEARING), Side(Correctable.BANK, "DE")):
            again = msgspec.structs.replace(wrong, debit=side, source="x")
            with pytest.raises(InvalidRequest):
                await transact(p.db, ACTOR, partial(book_correction, correction=again))
        async with p.db.transaction() as tx:
            [row] = [one for one in await differences.list_differences(tx, is_open=True) if one.object == unknown]
        resolved_by = partial(resolve_difference, difference_id=DifferenceId(row.id), reason="")
        [(payment,)] = await p.rows("SELECT id FROM entries WHERE kind = 'grant'")
        with pytest.raises(InvalidRequest, match=r"no leg of 7\.50 USD"):
            await transact(p.db, ACTOR, partial(resolved_by, entry_id=payment))
        await transact(p.db, ACTOR, partial(resolved_by, entry_id=booked[-1]))
        await run(p)
        assert await queue(p) == {}
        sums = await p.sums()
        assert (sums["stripe_fees"], sums.get("bank", 0)) == (-59 - 750, 0)

    run_story(database_url, redis_url, story)
