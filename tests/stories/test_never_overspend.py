"""However many calls come at once, and through however many processes: credit for k calls serves exactly k."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from store.embedded import Embedded
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

PATH = "/v1/embeddings"
# Token ids are counted before the call, so the hold is the cost and credit can be used up to the last call.
TOKENS = 10
COST_NANO = 10
COME_BACK, COME_BACK_WITHIN_S = {"credit_held", "store_unavailable"}, 60.0
TRIAL_BALANCE = "SELECT coalesce(sum(amount_nano), 0) FROM postings"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream().in_thread() as running:
        running.always = Scripted(delay_s=0.02)
        yield running


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """Three serves over one Postgres and one Redis."""
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("overspend"), module_database_url, servers.redis_url, serves=3)
    model = product.database.a_model("tests/counted", nano_per_mtok=1_000_000, vocabulary=1_000)
    product.database.an_endpoint(model, upstream.base_url)
    with product:
        yield product


def _at_once(product: Product, key: str, calls: int, body: dict[str, object]) -> list[Reply]:
    """All calls together, spread over the serves.

    Each repeats, as clients do, while it is told to come back: where this machine is so busy that a charge takes longer
    than a call waits for held credit (5 s), or a heartbeat longer than 2.5 s, nobody can say yet who is to pay.
    """
    request = request_bytes(PATH, key, body)
    ports = [serve.port for serve in product.serves]

    async def one(port: int) -> Reply:
        until = time.monotonic() + COME_BACK_WITHIN_S
        while True:
            reply = await send(port, request, timeout_s=60)
            comes_back = reply.status != 200 and reply.json["error"]["code"] in COME_BACK
            if not comes_back or time.monotonic() > until:
                return reply
            await asyncio.sleep(0.2)

    async def all_of_them() -> list[Reply]:
        return await asyncio.gather(*(one(ports[n % len(ports)]) for n in range(calls)))

    return asyncio.run(all_of_them())


@pytest.mark.parametrize(("calls", "credit_for"), [(2, 1), (10, 3), (50, 49), (200, 20), (500, 137)])
def test_concurrent_calls_are_served_exactly_as_far_as_the_credit_reaches(
    product: Product, calls: int, credit_for: int
) -> None:
    account = product.database.an_account(credit_for * COST_NANO)
    key = product.wait_until_known(product.database.a_key(account))
    replies = _at_once(product, key, calls, {"model": "tests/counted", "input": list(range(TOKENS))})

    assert Counter(reply.status for reply in replies) == {200: credit_for, 402: calls - credit_for}
    refused = {reply.json["error"]["code"] for reply in replies if reply.status == 402}
    assert refused == {"credit_exhausted"}
    answered = {reply.headers["x-request-id"].removeprefix("req_") for reply in replies if reply.status == 200}
    usage = product.database.rows("SELECT request_id, charged_nano FROM usage_events WHERE account_id = $1", account)
    assert {row["request_id"].hex for row in usage} == answered
    assert {row["charged_nano"] for row in usage} == {COST_NANO}
    balance = "SELECT posted_nano FROM ledger_accounts WHERE account_id = $1 AND kind = 'customer_credit'"
    assert product.database.value(balance, account) == 0
    assert product.database.value(TRIAL_BALANCE) == 0


def test_texts_held_at_an_upper_bound_are_served_to_the_last_call_too(product: Product) -> None:
    """A hold is more than the cost, so calls wait for each other's holds; none is refused that could be paid."""
    text = "x" * 40
    account = product.database.an_account(20 * COST_NANO + 40)
    key = product.wait_until_known(product.database.a_key(account))
    replies = _at_once(product, key, 100, {"model": "tests/counted", "input": text})

    served = sum(reply.status == 200 for reply in replies)
    assert {reply.status for reply in replies} == {200, 402}
    left = product.database.value(
        "SELECT posted_nano FROM ledger_accounts WHERE account_id = $1 AND kind = 'customer_credit'", account
    )
    assert left == 20 * COST_NANO + 40 - served * COST_NANO
    assert 0 <= left <= 40, "what is left does not cover one more hold"
    assert product.database.value(TRIAL_BALANCE) == 0
