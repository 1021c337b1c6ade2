"""A client that goes away: the call is charged if and only if the provider answered and the commit happened."""

import asyncio
import time
from collections.abc import Callable, Iterator
from decimal import Decimal

import asyncpg
import pytest

from store.embedded import Embedded
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import leave, request_bytes, send

PATH = "/v1/embeddings"
MODEL = "tests/left"
BODY = {"model": MODEL, "input": "a text of which the client does not see the vector"}
BALANCE = "SELECT posted_nano FROM ledger_accounts WHERE account_id = $1 AND kind = 'customer_credit'"
USAGE = "SELECT count(*) FROM usage_events WHERE account_id = $1"


class Customer:
    """One account with its key, and what became of its money."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.database = product.database
        self.account = self.database.an_account(1_000_000)
        self.key = product.wait_until_known(self.database.a_key(self.account))
        self.request = request_bytes(PATH, self.key, BODY)

    @property
    def charges(self) -> int:
        count: int = self.database.value(USAGE, self.account)
        return count

    def leaves(self, *, after_bytes: int | None = None, after_s: float = 0.0) -> None:
        asyncio.run(leave(self.product.serves[0].port, self.request, after_bytes=after_bytes, after_s=after_s))

    def calls(self, body: object = BODY) -> int:
        """A whole call; its status."""
        reply = asyncio.run(send(self.product.serves[0].port, request_bytes(PATH, self.key, body)))
        return reply.status

    def has_nothing_held(self) -> bool:
        """All its credit can be spent by one call: nothing of it is held for calls that ended."""
        account = self.product.account(self.key)
        return Decimal(account["held"]) == 0


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("gone"), module_database_url, servers.redis_url)
    product.database.an_endpoint(product.database.a_model(MODEL), upstream.base_url)
    with product:
        yield product


@pytest.fixture
def customer(product: Product, upstream: Upstream) -> Customer:
    upstream.always = Reply()
    upstream.calls.clear()
    return Customer(product)


def _eventually(holds: Callable[[], bool], within_s: float = 8) -> bool:
    until = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("after_bytes", [0, 10, 60, -1])
def test_before_the_request_is_whole_nothing_happens(customer: Customer, upstream: Upstream, after_bytes: int) -> None:
    customer.leaves(after_bytes=after_bytes % (len(customer.request) + 1) if after_bytes >= 0 else -1, after_s=0.05)
    time.sleep(0.2)
    assert upstream.calls == []
    assert customer.charges == 0
    assert customer.has_nothing_held()


def test_while_the_provider_works_the_call_goes_on_and_is_charged(customer: Customer, upstream: Upstream) -> None:
    upstream.always = Reply(delay_s=0.5)
    customer.leaves(after_s=0.2)
    assert len(upstream.calls) == 1
    assert customer.charges == 0
    assert _eventually(lambda: customer.charges == 1)
    assert _eventually(customer.has_nothing_held)


def test_while_the_provider_works_and_then_fails_nothing_is_charged(customer: Customer, upstream: Upstream) -> None:
    upstream.always = Reply(delay_s=0.3, status=500)
    customer.leaves(after_s=0.1)
    assert _eventually(customer.has_nothing_held)
    time.sleep(0.3)
    assert upstream.calls, "the provider was asked"
    assert customer.charges == 0


def test_while_the_charge_is_committed_it_is_charged_once(customer: Customer, upstream: Upstream) -> None:
    """The commit is held up by a lock on the account's credit; the client leaves meanwhile."""

    async def leave_during_the_commit() -> None:
        connection = await asyncpg.connect(customer.database.url)
        try:
            async with connection.transaction():
                await connection.fetch(
                    "SELECT 1 FROM ledger_accounts WHERE account_id = $1 FOR UPDATE", customer.account
                )
                await leave(customer.product.serves[0].port, customer.request, after_s=0.5)
                assert len(upstream.calls) == 1
        finally:
            await connection.close()

    # Loaded beforehand, so that the lock holds up nothing but the commit.
    assert customer.calls() == 200
    upstream.calls.clear()
    asyncio.run(leave_during_the_commit())
    assert _eventually(lambda: customer.charges == 2)
    assert _eventually(customer.has_nothing_held)


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.005, 0.01, 0.02])
def test_at_any_moment_the_charge_follows_the_provider(customer: Customer, upstream: Upstream, after_s: float) -> None:
    for _ in range(10):
        customer.leaves(after_s=after_s)
    assert _eventually(lambda: customer.charges == len(upstream.calls))
    assert _eventually(customer.has_nothing_held)
    tokens = customer.database.value(
        "SELECT coalesce(sum(charged_nano), 0) FROM usage_events WHERE account_id = $1", customer.account
    )
    assert customer.database.value(BALANCE, customer.account) == 1_000_000 - tokens


def test_while_the_answer_is_sent_the_charge_stands(customer: Customer, upstream: Upstream) -> None:
    many = request_bytes(PATH, customer.key, {"model": MODEL, "input": ["text"] * 2048})
    asyncio.run(leave(customer.product.serves[0].port, many, after_s=1.0))
    assert _eventually(lambda: customer.charges == 1)
    assert _eventually(customer.has_nothing_held)
