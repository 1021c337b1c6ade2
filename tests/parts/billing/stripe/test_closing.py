"""An account is closed: unused credit is paid back or forfeited, keys end, who pays is forgotten, the books stay."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from billing.accounts import set_status
from billing.closing import find_closing, list_closing, take_leftover
from billing.contracts.store import end_contract
from billing.credits import GrantKind
from billing.documents.profiles import read_profile, write_profile
from billing.favours import pay_back
from billing.lines import fit_lines, set_line
from billing.money import NanoUSD
from billing.receivables import accrue, bill, pay
from billing.seal import seal
from billing.stripe.topups import AccountIsClosed
from billing.values import Hold
from router.admin.closing import Closed, CloseOrder, close_account, finish
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict, InvalidRequest
from store.ids import AccountId
from tests.builders.billing import an_account
from tests.builders.contracts import a_past_contract
from tests.builders.database import add_credit
from tests.builders.documents import a_buyer
from tests.builders.stripe import Payments, payments, run_story, spend
from tests.builders.values import a_payer

CENT = 10_000_000


async def close(
    p: Payments,
    account: AccountId,
    *,
    dry_run: bool = False,
    with_stripe: bool = True,
    forfeit: bool = False,
    held: int = 0,
) -> Closed:
    order = CloseOrder(account_id=account, reason="moved", key="close", forfeit=forfeit, held=NanoUSD(held))

    async def command(work: UnitOfWork) -> Closed:
        return await close_account(work, p.context.config if with_stripe else None, order)

    return await transact(p.db, Actor("cli:ann"), command, dry_run=dry_run)


async def run_jobs(p: Payments) -> None:
    """Turns of the jobs, as often as somebody likes."""
    b = p.billing
    for _ in range(2):
        await fit_lines(p.db, b.admission, b.projection, b.generation, p.db.clock.now(), wait_s=0.2)
        async with p.db.transaction() as tx:
            closings = await list_closing(tx)
        for one in closings:
            if await take_leftover(p.db, b.admission, b.projection, b.generation, one):
                await asyncio.gather(finish(p.db, one.account_id), finish(p.db, one.account_id))


async def waits_for(p: Payments, account: AccountId) -> str:
    async with p.db.transaction() as tx:
        found = await find_closing(tx, account)
    assert found is not None
    return found.waits_for if found.closed_at is None else "closed"


async def story(p: Payments) -> None:
    account = await an_account(p.db, 0)
    await p.buy(account, 1_000)
    async with p.db.transaction() as tx:
        await add_credit(tx, account, 500 * CENT, GrantKind.GOODWILL)
        # Bought beside Stripe, so nothing can pay it back.
        await add_credit(tx, account, 200 * CENT, GrantKind.PURCHASED)
        await write_profile(tx, account, a_buyer(), "cli:ann")
        await set_line(tx, account, NanoUSD(300 * CENT), p.db.clock.now())
    await p.act()
    await p.billing.settle()
    hold = await p.billing.admit(a_payer(account), 100 * CENT)
    assert isinstance(hold, Hold)
    with pytest.raises(Conflict, match=r"calls in flight hold 1\.00 USD"):
        await close(p, account, held=100 * CENT)
    with pytest.raises(InvalidRequest, match=r"12\.00 USD of unused credit .* no payments are configured"):
        await close(p, account, with_stripe=False)
    with pytest.raises(InvalidRequest, match=r"2\.00 USD of unused credit .* was not paid by Stripe"):
        await close(p, account)
    page = await p.open(account, 700)
    with pytest.raises(Conflict, match="a page to pay on is open"):
        await close(p, account, forfeit=True)
    p.world.expire(str(page.session_id))
    await p.hear()
    would = await close(p, account, forfeit=True, dry_run=True)
    assert (would.refunded, would.forfeited, would.keys) == (1_000 * CENT, 700 * CENT, 0)
    assert await p.rows("SELECT count(*) FROM account_closings") == [(0,)]
    done = await close(p, account, forfeit=True)
    assert (done.refunded, done.forfeited) == (would.refunded, would.forfeited)
    with pytest.raises(Conflict, match="is closed"):
        await close(p, account, forfeit=True)
    with pytest.raises(AccountIsClosed):
        await p.order(account, 1_000)
    async with p.db.transaction() as tx:
        with pytest.raises(DBAPIError, match="a closed account stays closed"):
            await set_status(tx, account, "active")
    await run_jobs(p)
    assert await waits_for(p, account) == "refunds that are on their way"
    await p.act()
    await p.hear()
    # What the call in flight holds is its own until it ends.
    await run_jobs(p)
    assert await waits_for(p, account) == "calls in flight, which hold the rest of the credit"
    await p.billing.charge(hold, 100 * CENT)
    await p.billing.settle()
    await run_jobs(p)
    assert await waits_for(p, account) == "closed"
    sums = await p.sums()
    assert {name: sums.get(name, 0) for name in ("customer_credit", "refunds", "breakage", "revenue")} == {
        "customer_credit": 0,
        "refunds": 0,
        # Of the 200 that nothing pays back, the call in flight was paid.
        "breakage": 100,
        "revenue": 100,
    }
    assert await p.rows("SELECT status FROM refunds") == [("succeeded",)]
    async with p.db.transaction() as tx:
        assert await read_profile(tx, account) is None
    assert await p.rows("SELECT count(*) FROM audit WHERE action = 'account.closed'") == [(1,)]


def test_an_account_is_closed_and_its_money_goes_where_it_belongs(database_url: str, redis_url: str) -> None:
    async def running() -> None:
        async with payments(database_url, redis_url) as p:
            await story(p)
            await p.assert_right()

    asyncio.run(running())


async def what_is_promised(p: Payments) -> None:
    """An invoice of 10 cents that was paid with 15, and a minimum that its customer would leave by closing."""
    account = await an_account(p.db, 0)
    async with p.db.transaction() as tx:
        await set_line(tx, account, NanoUSD(50 * CENT), p.db.clock.now())
    await p.billing.projection.refresh(account)
    await spend(p, account, 10 * CENT)
    await seal(p.db)
    await accrue(p.db, p.db.clock.now())
    async with p.db.transaction() as tx:
        due = await bill(tx, account, NanoUSD(10 * CENT), source_ref="F-1", due_on=p.db.clock.now().date())
        await pay(tx, due.id, NanoUSD(15 * CENT), p.db.clock.now(), source_ref="wire", beyond=True)
    with pytest.raises(Conflict, match="more was paid of invoice F-1 than it demands"):
        await close(p, account)
    async with p.db.transaction() as tx:
        await pay_back(tx, due.id, NanoUSD(5 * CENT), source_ref="back")
    promised = await a_past_contract(p.db, account, p.db.clock.now() - timedelta(seconds=1), minimum=CENT)
    with pytest.raises(Conflict, match=f"contract_{promised.id.hex} promises a minimum"):
        await close(p, account)
    async with p.db.transaction() as tx:
        await end_contract(tx, promised.id, p.db.clock.now() - timedelta(milliseconds=1), "moved")
    assert (await close(p, account)).refunded == 0


def test_what_is_in_favour_or_promised_is_settled_before_an_account_is_closed(
    database_url: str, redis_url: str
) -> None:
    run_story(database_url, redis_url, what_is_promised)
