"""A call's bound is set aside of the key's tokens while it runs; however it ends, what was billed takes its place."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import pytest

from billing.money import NanoUSD
from billing.reaper import reap
from billing.values import Denial, Denied, Hold, Limits, Payer, Quote
from store.ids import RequestId, new_id
from tests.builders.billing import PRICE, Billing, an_account, billing, usage_of
from tests.builders.values import a_payer

# So much that the refill of a test's seconds is less than a token.
LIMIT, MOST, BILLED = 40, 20, 9
LIMITS = Limits(1_000, LIMIT, 100)
# Of a hold that has lost its instant.
LONGEST_S = 80.0

End = Callable[[Billing, Hold], Awaitable[None]]


async def hold_for(b: Billing, payer: Payer, most: int) -> Hold:
    quote = Quote(most, NanoUSD(most), PRICE, exact=True)
    hold = await b.admission.admit(
        RequestId(new_id()), payer, quote, datetime.now(UTC), asyncio.get_running_loop().time() + 30, None
    )
    assert isinstance(hold, Hold), hold
    return hold


async def left(b: Billing, payer: Payer) -> int:
    """What a call finds left; the call itself takes nothing."""
    probe = await hold_for(b, payer, 1)
    b.admission.release(probe)
    return probe.limits.tokens_remaining


async def is_released(b: Billing, hold: Hold) -> None:
    b.admission.release(hold)


async def is_charged(b: Billing, hold: Hold) -> None:
    await b.charge(hold, BILLED)


async def is_charged_twice(b: Billing, hold: Hold) -> None:
    used = usage_of(BILLED)
    await b.charging.charge(hold, used)
    await b.charging.charge(hold, used)
    await b.settle()


async def is_reaped(b: Billing, hold: Hold) -> None:
    await b.make_overdue(hold.payer.account_id)
    assert await reap(b.db, b.projection, LONGEST_S) == 1


async def is_charged_and_reaped(b: Billing, hold: Hold) -> None:
    b.projection.end_holds = lambda batch: None  # type: ignore[method-assign]  # the process dies before it applies
    await b.charge(hold, BILLED)
    del b.projection.end_holds
    await b.make_overdue(hold.payer.account_id)
    assert await reap(b.db, b.projection, LONGEST_S) == 1


async def is_set_from_postgres_and_charged(b: Billing, hold: Hold) -> None:
    assert await b.projection.set_from_postgres(hold.payer.account_id)
    assert await left(b, hold.payer) == LIMIT - MOST
    await b.charge(hold, BILLED)


async def is_rebuilt_and_charged(b: Billing, hold: Hold) -> None:
    await b.redis_command("DEL", f"gr:{{{hold.payer.account_id.hex}}}")
    assert await left(b, hold.payer) == LIMIT - MOST
    await b.charge(hold, BILLED)


async def is_freed_by_the_release_before_this_one(b: Billing, hold: Hold) -> None:
    """Its script knows nothing of what is set aside: while releases are replaced, it may reap a hold of the new one."""
    account = f"gr:{{{hold.payer.account_id.hex}}}"
    await b.redis_command("HDEL", account, f"h:{hold.id.hex}")
    await b.redis_command("HINCRBY", account, f"c:{hold.payer.key_id.hex}", "-1")


ENDS: list[tuple[End, int]] = [
    (is_released, 0),
    (is_charged, BILLED),
    (is_charged_twice, BILLED),
    (is_reaped, 0),
    (is_charged_and_reaped, BILLED),
    (is_set_from_postgres_and_charged, BILLED),
    (is_rebuilt_and_charged, BILLED),
    (is_freed_by_the_release_before_this_one, 0),
]


@pytest.mark.parametrize(("end", "used"), ENDS, ids=[end.__name__ for end, _ in ENDS])
def test_whichever_way_a_call_ends_what_was_billed_is_used(
    database_url: str, redis_url: str, end: End, used: int
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            payer = a_payer(await an_account(b.db, 10_000), limits=LIMITS)
            hold = await hold_for(b, payer, MOST)
            assert hold.limits.tokens_remaining == LIMIT
            assert hold.limits.after(BILLED).tokens_remaining == LIMIT - BILLED
            assert await left(b, payer) == LIMIT - MOST
            await end(b, hold)
            await b.charging.drain()
            assert LIMIT - used <= await left(b, payer) <= LIMIT - used + 1

    asyncio.run(story())


def test_a_call_that_is_free_of_charge_counts_as_any_other(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            payer = a_payer(await an_account(b.db, 10_000), limits=LIMITS)
            hold = await hold_for(b, payer, MOST)
            await b.charging.charge(hold, msgspec.structs.replace(usage_of(0), tokens=BILLED))
            await b.charging.drain()
            assert await left(b, payer) == LIMIT - BILLED

    asyncio.run(story())


def test_the_limit_comes_back_evenly_and_a_debt_first(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            payer = a_payer(await an_account(b.db, 10_000), limits=Limits(1_000, 1_000, 100))
            hold = await hold_for(b, payer, 1_000)
            state = hold.limits.after(1_000)
            assert (state.tokens_remaining, state.tokens_reset_ms) == (0, 60_000)
            clock = asyncio.get_running_loop().time
            began = clock()
            await b.charge(hold, 1_000)
            await b.settle()
            charged = clock()
            await asyncio.sleep(0.3)
            least = (clock() - charged) * 1_000 / 60 - 1
            assert least <= await left(b, payer) <= (clock() - began) * 1_000 / 60 + 1

            # Nobody could count this call, and it was three times its guess: two minutes are owed.
            debtor = a_payer(payer.account_id, limits=Limits(1_000, 1_000, 100))
            guessed = Quote(3_000, NanoUSD(3_000), PRICE, tokens_limited=1_000)
            later, now = asyncio.get_running_loop().time() + 30, datetime.now(UTC)
            hold_in_debt = await b.admission.admit(RequestId(new_id()), debtor, guessed, now, later, None)
            assert isinstance(hold_in_debt, Hold)
            await b.charge(hold_in_debt, 3_000)
            await b.charging.drain()
            refused = await b.admission.admit(RequestId(new_id()), debtor, guessed, now, later, None)
            assert isinstance(refused, Denied)
            assert (refused.reason, refused.limits.tokens_remaining) == (Denial.TOKENS, 0)
            assert 178_000 < refused.retry_after_ms <= 180_000

    asyncio.run(story())
