"""Rate limits against an exact oracle: its bounds come from Redis' own clock, so no verdict may differ."""

import asyncio
import random
from fractions import Fraction

import msgspec
import pytest

from billing.projection import ADMIT, APPLY, account_key, limits_key
from billing.values import Hold, Limits
from store.ids import AccountId, KeyId
from tests.builders.billing import Billing, an_account, billing
from tests.builders.values import a_payer

MINUTE_US = 60_000_000


class Oracle:
    """A bucket that holds one minute's worth and refills evenly, in exact fractions of a microsecond."""

    def __init__(self, per_minute: int) -> None:
        self.step = Fraction(MINUTE_US, per_minute)
        self.arrival = Fraction(0)

    def excess(self, now_us: int, cost: int) -> Fraction:
        """How far beyond the limit this call would be; at most zero where it may pass."""
        return max(self.arrival, Fraction(now_us)) + self.step * cost - now_us - MINUTE_US

    def take(self, now_us: int, cost: int) -> None:
        self.arrival = max(self.arrival, Fraction(now_us)) + self.step * cost


class Both:
    """A key's two buckets: requests count when they are admitted, tokens when they are billed."""

    def __init__(self, limits: Limits) -> None:
        self.requests, self.tokens = Oracle(limits.requests_per_minute), Oracle(limits.tokens_per_minute)

    def excess(self, now_us: int, cost: int) -> Fraction:
        return max(self.requests.excess(now_us, 1), self.tokens.excess(now_us, cost))


class InFlight(msgspec.Struct):
    """A call that was admitted; at most ``most`` tokens may be billed."""

    request: str
    most: int


@pytest.mark.parametrize("seed", range(6))
def test_no_call_is_decided_otherwise_than_by_the_exact_bucket(database_url: str, redis_url: str, seed: int) -> None:
    """Calls whose least and most tokens differ, that end in any order with any number, or with none."""
    rng = random.Random(seed)
    limits = Limits(
        requests_per_minute=rng.choice([90, 3_000]), tokens_per_minute=rng.choice([50, 9_999]), concurrency=10_000
    )

    async def story(b: Billing) -> None:
        account = await an_account(b.db, 10**9)
        payer = a_payer(account, limits=limits)
        assert isinstance(await b.admit(a_payer(account), 1), Hold)  # the account is loaded
        # The script reads its clock between our two readings: each bucket is bracketed by the ones of both.
        earliest, latest = Both(limits), Both(limits)
        in_flight: list[InFlight] = []
        decided = {"ok": 0, "requests": 0, "tokens": 0, "tokens_held": 0}
        for number in range(600):
            if in_flight and rng.random() < 0.4:
                call = in_flight.pop(rng.randrange(len(in_flight)))
                billed = rng.choice([0, 1, call.most // 4, call.most])
                before = await _clock(b)
                # Sent twice, as after an answer that was lost: it counts once.
                for _ in range(rng.choice([1, 1, 2])):
                    await _end(b, account, call.request, billed)
                earliest.tokens.take(before, billed)
                latest.tokens.take(await _clock(b), billed)
                continue
            least = rng.randint(1, max(1, limits.tokens_per_minute // 20))
            call = InFlight(f"{number:032x}", least * rng.choice([1, 1, 4]))
            reserved = sum(one.most for one in in_flight)
            before = await _clock(b)
            verdict = await _admit(b, account, payer.key_id, limits, call, least)
            now = await _clock(b)
            early, late = earliest.excess(now, least + reserved), latest.excess(before, least + reserved)
            decided[verdict] += 1
            if verdict == "ok":
                assert early <= 1, f"call {number} passed {float(early)} us too early"
                earliest.requests.take(before, 1)
                latest.requests.take(now, 1)
                in_flight.append(call)
            else:
                assert late > -1, f"call {number} was refused {float(late)} us too late"
            if rng.random() < 0.2:
                await asyncio.sleep(rng.random() / 200)
        assert decided["ok"] > 0
        assert decided["requests"] + decided["tokens"] > 0

    async def run() -> None:
        async with billing(database_url, redis_url) as b:
            await story(b)

    asyncio.run(run())


async def _admit(b: Billing, account: AccountId, key: KeyId, limits: Limits, call: InFlight, least: int) -> str:
    reply = await b.projection.call(
        ADMIT,
        [account_key(account), limits_key(account)],
        [
            b.generation.number,
            call.request,
            1,
            key.hex,
            limits.requests_per_minute,
            limits.tokens_per_minute,
            limits.concurrency,
            call.most,
            10**15,
            least,
            0,  # no count of admissions that it has seen
        ],
    )
    return bytes(reply[0]).decode()


async def _end(b: Billing, account: AccountId, request: str, billed: int) -> None:
    keys = [account_key(account), limits_key(account)]
    assert await b.projection.call(APPLY, keys, [b.generation.number, "", 0, 1, request, billed]) == b"ok"


async def _clock(b: Billing) -> int:
    assert b.projection.redis is not None
    seconds, micros = await b.projection.redis.command("TIME")
    return int(seconds) * 1_000_000 + int(micros)
