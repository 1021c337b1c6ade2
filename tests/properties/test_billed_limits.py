"""Tokens per minute against an exact oracle: whatever the texts and however calls overlap, no more is billed than that.

The calls go through the product's own estimate, admission and charge; the clock is Redis', so the minute's refill is
bounded by how long an example took.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Self

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.admission import Recount
from billing.money import NanoUSD
from billing.values import Denial, Hold, Limits, Payer, Quote
from router.request.estimate import estimate, exact_quote, token_bound
from store.embedded import Embedded
from store.ids import RequestId, new_id
from tests.builders.billing import Billing, an_account, billing, usage_of
from tests.builders.texts import CJK, EMOJI, PROSE, exact_tokens
from tests.builders.values import NOW, Prices, a_key, a_model, a_payer, a_price, a_request

LIMIT = 600
MODEL = a_model(max_input_tokens=10**6, special_tokens=0)
FREE = Prices(a_price(0))
PIECE = st.one_of(
    st.sampled_from([PROSE, EMOJI, CJK, "Q#7!", "\ufdfa", "\u00e9", "\x00", " " * 64, "a" * 200, "1" * 50]),
    st.text(min_size=1, max_size=20),
)
TEXT = st.builds(lambda piece, times: piece * times, PIECE, st.integers(1, 40)).filter(lambda text: len(text) < 800)


class Call(msgspec.Struct, frozen=True):
    """A call of the story: how long it runs, and whether it fails and is billed nothing."""

    text: str
    took_s: float
    fails: bool
    is_counted: bool


CALLS = st.lists(
    st.builds(Call, TEXT, st.floats(0.01, 0.05), st.sampled_from([False, False, False, True]), st.booleans()),
    min_size=12,
    max_size=40,
)


class World:
    """One process's billing on a loop in a thread, for all examples."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._urls = database_url, redis_url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._over = asyncio.Event()

    def run(self, story: Callable[[Billing], Coroutine[None, None, None]]) -> None:
        asyncio.run_coroutine_threadsafe(story(self._billing), self._loop).result(60)

    def __enter__(self) -> Self:
        self._thread.start()
        started: Future[Billing] = Future()
        self._running = asyncio.run_coroutine_threadsafe(self._run(started), self._loop)
        self._billing = started.result(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._running.result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _run(self, started: "Future[Billing]") -> None:
        async with billing(*self._urls) as b:
            started.set_result(b)
            await self._over.wait()


@pytest.fixture(scope="module")
def world(module_database_url: str, servers: Embedded) -> Iterator[World]:
    servers.redis.command("FLUSHALL")
    with World(module_database_url, servers.redis_url) as running:
        yield running


@settings(max_examples=60, deadline=None)
@given(calls=CALLS, seed=st.integers(0, 2**32))
def test_no_more_is_billed_than_the_limit_and_what_one_guess_missed(world: World, calls: list[Call], seed: int) -> None:
    world.run(lambda b: _story(b, calls, random.Random(seed)))


async def _story(b: Billing, calls: list[Call], rng: random.Random) -> None:
    account = await an_account(b.db, 10**9)
    payer = a_payer(account, limits=Limits(1_000_000, LIMIT, 1_000))
    began = time.monotonic()
    billed: list[tuple[Call, int]] = []

    async def run(call: Call) -> None:
        await asyncio.sleep(rng.random() / 50)
        billed.append((call, await _run(b, payer, call)))

    await asyncio.gather(*map(run, calls))
    await b.charging.drain()
    refill = (time.monotonic() - began) * LIMIT / 60 + 1
    missed = max(
        (max(0, tokens - len(call.text.encode()) // 4) for call, tokens in billed if not call.is_counted), default=0
    )
    used = sum(tokens for _, tokens in billed)
    assert used <= LIMIT + refill + max(0, missed)
    # What the limit has left is what was not billed, to the token.
    hold = await b.admission.admit(
        RequestId(new_id()), payer, Quote(1, NanoUSD(0), a_price(0), True), NOW, _later(), None
    )
    left = hold.limits.tokens_remaining
    assert max(0, LIMIT - used) <= left <= max(0, LIMIT - used + refill + 1)
    if isinstance(hold, Hold):
        b.admission.release(hold)
    await asyncio.sleep(0.02)
    redis = await b.redis(account)
    assert not [name for name in redis if name[:2] in ("h:", "q:")]
    assert {int(value) for name, value in redis.items() if name[:2] in ("c:", "u:")} <= {0}, "nothing stays set aside"


async def _run(b: Billing, payer: Payer, call: Call) -> int:
    """The tokens that a call was billed; 0 where it was refused or has failed."""
    tokens = exact_tokens(call.text)
    request = a_request(call.text)
    quote = estimate(request, MODEL, a_key(), FREE, NOW)
    assert tokens <= quote.tokens_max <= 3 * token_bound(call.text)

    async def count() -> Quote:
        return exact_quote(request, MODEL, quote, tokens)

    recount: Recount | None = count if call.is_counted else None
    hold = await b.admission.admit(RequestId(new_id()), payer, quote, NOW, _later(), recount)
    if not isinstance(hold, Hold):
        needed = tokens if call.is_counted else max(1, len(call.text.encode()) // 4)
        if hold.reason is Denial.TOKENS_NEVER:
            assert needed > LIMIT
        else:
            assert hold.reason in (Denial.TOKENS, Denial.TOKENS_HELD)
            assert hold.limits.tokens_remaining < needed
        return 0
    await asyncio.sleep(call.took_s)
    if call.fails:
        b.admission.release(hold)
        return 0
    await b.charging.charge(hold, msgspec.structs.replace(usage_of(0), tokens=tokens, cost=NanoUSD(0)))
    return tokens


def _later() -> float:
    return asyncio.get_running_loop().time() + 30
