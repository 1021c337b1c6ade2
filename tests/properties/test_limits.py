"""Rate limits against an exact oracle: its bounds come from Redis' own clock, so no verdict may differ."""

import asyncio
import random
from fractions import Fraction

import pytest

from billing.projection import ADMIT, account_key, due_key, limits_key
from billing.values import Hold, Limits
from tests.builders.billing import Billing, an_account, billing
from tests.builders.values import a_payer

MINUTE_US = 60_000_000


class Oracle:
    """A bucket that holds one minute's worth and refills evenly, in exact fractions of a microsecond."""

    def __init__(self, per_minute: int) -> None:
        self.step = Fraction(MINUTE_US, per_minute)
        self.arrival = Fraction(0)

    def allows(self, now_us: int, cost: int) -> Fraction:
        """How far beyond the limit this call would be; at most zero where it may pass."""
        return max(self.arrival, Fraction(now_us)) + self.step * cost - now_us - MINUTE_US

    def take(self, now_us: int, cost: int) -> None:
        self.arrival = max(self.arrival, Fraction(now_us)) + self.step * cost


class Both:
    """A key's two buckets."""

    def __init__(self, limits: Limits) -> None:
        self.requests, self.tokens = Oracle(limits.requests_per_minute), Oracle(limits.tokens_per_minute)

    def allows(self, now_us: int, cost: int) -> Fraction:
        return max(self.requests.allows(now_us, 1), self.tokens.allows(now_us, cost))

    def take(self, now_us: int, cost: int) -> None:
        self.requests.take(now_us, 1)
        self.tokens.take(now_us, cost)


@pytest.mark.parametrize("seed", range(4))
def test_no_call_is_decided_otherwise_than_by_the_exact_bucket(database_url: str, redis_url: str, seed: int) -> None:
    rng = random.Random(seed)
    limits = Limits(
        requests_per_minute=rng.choice([7, 90, 3_000]), tokens_per_minute=rng.choice([50, 9_999]), concurrency=10_000
    )

    async def story(b: Billing) -> None:
        account = await an_account(b.db, 10**9)
        payer = a_payer(account, limits=limits)
        assert isinstance(await b.admit(a_payer(account), 1), Hold)  # the account is loaded
        # The script reads its clock between our two readings: each bucket is bracketed by the ones of both.
        least, most = Both(limits), Both(limits)
        decided = {"ok": 0, "refused": 0}
        for number in range(400):
            cost = rng.randint(1, max(1, limits.tokens_per_minute // 20))
            clock_before = await _clock(b)
            reply = await b.projection.call(
                ADMIT,
                [account_key(account), limits_key(account), due_key(account)],
                [
                    b.generation.number,
                    f"{number:032x}",
                    1,
                    payer.key_id.hex,
                    "total",
                    "",
                    limits.requests_per_minute,
                    limits.tokens_per_minute,
                    limits.concurrency,
                    cost,
                    10**15,
                ],
            )
            now = await _clock(b)
            early, late = least.allows(now, cost), most.allows(clock_before, cost)
            if reply[0] == b"ok":
                assert early <= 1, f"call {number} passed {float(early)} us too early"
                least.take(clock_before, cost)
                most.take(now, cost)
                decided["ok"] += 1
            else:
                assert reply[0] in (b"requests", b"tokens")
                assert late > -1, f"call {number} was refused {float(late)} us too late"
                decided["refused"] += 1
            if rng.random() < 0.2:
                await asyncio.sleep(rng.random() / 200)
        assert decided["ok"] > 0
        assert decided["refused"] > 0

    async def run() -> None:
        async with billing(database_url, redis_url) as b:
            await story(b)

    asyncio.run(run())


async def _clock(b: Billing) -> int:
    assert b.projection.redis is not None
    seconds, micros = await b.projection.redis.command("TIME")
    return int(seconds) * 1_000_000 + int(micros)
