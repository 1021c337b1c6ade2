"""Tokens per minute are those that are billed: hostile texts do not get more through, and prose gets all of it."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from billing.values import Limits
from store.embedded import Embedded
from store.ids import AccountId
from tests.builders.texts import CJK, EMOJI, PROSE, exact_tokens
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

# Its only provider reports what it billed; nobody can count beforehand.
REPORTED = "tests/reported"
# Served by a worker of ours, which counts.
COUNTED = "tests/counted"
# Its only provider fails.
FAILING = "tests/failing"
LIMIT = 1_000
LIMITS = Limits(requests_per_minute=100_000, tokens_per_minute=LIMIT, concurrency=1_000)
BILLED = "SELECT coalesce(sum(tokens), 0) FROM usage_events WHERE account_id = $1"


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    upstream.count = exact_tokens
    product = Product(tmp_path_factory.mktemp("limits"), module_database_url, servers.redis_url, serves=2, jobs=False)
    database = product.database
    database.an_endpoint(database.a_model(REPORTED), upstream.base_url, name="reports")
    database.an_endpoint(database.a_model(COUNTED), upstream.worker_url, kind="worker", name="worker")
    database.an_endpoint(database.a_model(FAILING), f"{upstream.base_url}/failing", name="fails")
    with product:
        yield product


class Customer:
    """One key with a limit of a thousand tokens per minute."""

    def __init__(self, product: Product, upstream: Upstream) -> None:
        self.product = product
        self.account: AccountId = product.database.an_account(1_000_000_000)
        self.key = product.wait_until_known(product.database.a_key(self.account, limits=LIMITS))
        self._began = time.monotonic()
        upstream.always = Scripted()

    async def send(self, model: str, text: str, serve: int = 0) -> Reply:
        request = request_bytes("/v1/embeddings", self.key, {"model": model, "input": text})
        return await send(self.product.serves[serve].port, request)

    def call(self, model: str, text: str) -> Reply:
        return asyncio.run(self.send(model, text))

    def at_once(self, model: str, texts: list[str]) -> list[Reply]:
        async def all_of_them() -> list[Reply]:
            return await asyncio.gather(*(self.send(model, text, n % 2) for n, text in enumerate(texts)))

        return asyncio.run(all_of_them())

    @property
    def billed(self) -> int:
        return int(self.product.database.value(BILLED, self.account))

    @property
    def refilled(self) -> int:
        """The most that the limit has given back since the first call."""
        return int((time.monotonic() - self._began) * LIMIT / 60) + 1


@pytest.fixture
def customer(product: Product, upstream: Upstream) -> Customer:
    return Customer(product, upstream)


@pytest.mark.parametrize("model", [REPORTED, COUNTED])
@pytest.mark.parametrize("text", [EMOJI * 9, "Q#7" * 33, CJK * 6, PROSE, " " * 100, "\ufdfa" * 30])
def test_forty_calls_at_once_are_billed_the_limit_at_most(
    product: Product, customer: Customer, upstream: Upstream, model: str, text: str
) -> None:
    upstream.always = Scripted(delay_s=0.1)
    replies = customer.at_once(model, [text] * 40)
    size = len(text.encode())
    # Where nobody can count beforehand, one call may be billed more than a guess of it had room for (docs/limits.md).
    beyond = 0 if model == COUNTED else max(0, exact_tokens(text) - size // 4)
    assert customer.billed <= LIMIT + customer.refilled + beyond
    refused = [reply for reply in replies if reply.status != 200]
    assert {reply.json["error"]["code"] for reply in refused} <= {"rate_limited_tokens"}
    # And all of the limit could be used, but for less than one call.
    if refused:
        assert customer.billed > LIMIT - max(exact_tokens(text) + 2, size // 4 + 1)


@pytest.mark.parametrize("model", [REPORTED, COUNTED])
def test_prose_gets_its_whole_limit_through_whatever_its_bytes(customer: Customer, model: str) -> None:
    """Its bytes are five times its tokens: 4,300 of them pass under a limit of 1,000 tokens."""
    text = PROSE * 10
    tokens = exact_tokens(text) + (2 if model == COUNTED else 0)
    assert len(text) < LIMIT < 6 * len(text)
    passed = 0
    while (reply := customer.call(model, text)).status == 200:
        assert reply.json["usage"]["total_tokens"] == tokens
        passed += 1
    assert reply.json["error"]["code"] == "rate_limited_tokens"
    assert passed >= LIMIT // max(tokens, len(text) // 4)


@pytest.mark.parametrize("model", [REPORTED, COUNTED])
def test_remaining_is_the_limit_less_what_was_billed(customer: Customer, model: str) -> None:
    billed = 0
    for text in ("hello", EMOJI * 3, PROSE, CJK):
        reply = customer.call(model, text)
        billed += reply.json["usage"]["total_tokens"]
        left = int(reply.headers["x-ratelimit-remaining-tokens"])
        assert LIMIT - billed <= left <= LIMIT - billed + customer.refilled
    assert customer.billed == billed


def test_a_failed_call_takes_nothing_of_the_limit(customer: Customer, upstream: Upstream) -> None:
    upstream.always = Scripted(status=500)
    for _ in range(5):
        reply = customer.call(FAILING, "Q#7" * 300)
        assert reply.status == 503
        assert reply.headers.get("x-ratelimit-remaining-tokens", "1000") == "1000"
    upstream.always = Scripted()
    reply = customer.call(COUNTED, "hello")
    assert int(reply.headers["x-ratelimit-remaining-tokens"]) == LIMIT - 3


def test_what_fits_is_admitted_by_its_count_and_what_never_fits_is_refused_by_it(customer: Customer) -> None:
    long_prose = PROSE * 50
    assert (len(long_prose) // 4, exact_tokens(long_prose)) > (LIMIT, 900)
    reply = customer.call(COUNTED, long_prose)
    assert (reply.status, reply.json["usage"]["total_tokens"]) == (200, exact_tokens(long_prose) + 2)
    reply = customer.call(COUNTED, PROSE * 60)
    assert (reply.status, reply.json["error"]["code"]) == (400, "above_tokens_per_minute")
    count = exact_tokens(PROSE * 60) + 2
    assert reply.json["error"]["details"] == {"tokens": count, "counted": True, "limit": LIMIT}
    assert f"has {count} tokens, and the key's limit is 1000 per minute" in reply.json["error"]["message"]
    assert not [name for name in reply.headers if name.startswith("retry-after")]
