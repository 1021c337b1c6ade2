"""What a call may ask of its dispatch, and what happens when providers are slow, cold, full or broken."""

import asyncio
import itertools
import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, Unpack

import pytest

from store.embedded import Embedded
from store.ids import AccountId, ModelId
from tests.builders.database import EndpointSpecFields
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, leave, request_bytes, send

PATH = "/v1/embeddings"
DEADLINE_S = 4
IDS = list(range(1, 11))
LOADING = Scripted(status=503, body=b'{"error":"Model m is currently loading","estimated_time":0.5}')
USAGE = "SELECT tokens, charged_nano FROM usage_events WHERE account_id = $1 ORDER BY occurred_at"
_names = itertools.count()


class Shelf:
    """Three upstream servers and the product, to which each test adds a model of its own."""

    def __init__(self, product: Product, upstreams: list[Upstream]) -> None:
        self.product = product
        self.upstreams = upstreams
        self.database = product.database

    def a_model(
        self,
        endpoints: int,
        *,
        nano_per_mtok: int = 1_000_000,
        batch_nano_per_mtok: int | None = None,
        **bounds: Unpack[EndpointSpecFields],
    ) -> ModelId:
        """A model at the first so many servers, the first of which is asked first."""
        name = f"dispatch-{next(_names)}"
        prices = (nano_per_mtok, batch_nano_per_mtok)
        model = self.database.a_model(
            f"tests/{name}", vocabulary=100, nano_per_mtok=prices[0], batch_nano_per_mtok=prices[1]
        )
        for number in range(endpoints):
            url = self.upstreams[number].base_url
            own = bounds.copy()
            own.setdefault("priority", number + 1)
            self.database.an_endpoint(model, url, name=f"{name}-{number}", **own)
        return model

    def a_customer(self) -> tuple[AccountId, str]:
        account = self.database.an_account(10_000_000)
        return account, self.product.wait_until_known(self.database.a_key(account))

    def call(
        self,
        key: str,
        model: ModelId,
        *,
        input_: object = IDS,
        serve: int = 0,
        provider: dict[str, object] | None = None,
        **headers: str,
    ) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"model": model, "input": input_} | ({"provider": provider} if provider else {})
        return asyncio.run(send(self.product.serves[serve].port, request_bytes(PATH, key, body, named)))

    def usage(self, account: AccountId) -> list[tuple[int, int]]:
        return [tuple(row) for row in self.database.rows(USAGE, account)]

    def asked(self) -> list[int]:
        return [len(upstream.calls) for upstream in self.upstreams]


@pytest.fixture(scope="module")
def upstreams() -> Iterator[list[Upstream]]:
    with Upstream().in_thread() as one, Upstream().in_thread() as two, Upstream().in_thread() as three:
        yield [one, two, three]


@pytest.fixture(scope="module")
def product(servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    folder, settings = tmp_path_factory.mktemp("dispatch"), {"call_deadline_s": str(DEADLINE_S)}
    with Product(folder, module_database_url, servers.redis_url, serves=2, jobs=False, settings=settings) as running:
        yield running


@pytest.fixture
def shelf(product: Product, upstreams: list[Upstream]) -> Shelf:
    for upstream in upstreams:
        upstream.always = Scripted()
        upstream.script.clear()
        upstream.calls.clear()
    return Shelf(product, upstreams)


def known(shelf: Shelf, key: str, model: ModelId) -> None:
    """Until every serve has heard of the model and its endpoints, which were made a moment ago."""
    for serve in range(len(shelf.product.serves)):
        until = time.monotonic() + 30
        while (reply := shelf.call(key, model, serve=serve)).status != 200:
            assert time.monotonic() < until, reply.json
            time.sleep(0.05)
    for upstream in shelf.upstreams:
        upstream.calls.clear()


def models(product: Product, key: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{product.url}/models", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return {model["id"]: model for model in json.load(answer)["data"]}


def test_the_batch_lane_pays_its_own_price_everywhere(shelf: Shelf) -> None:
    model = shelf.a_model(1, nano_per_mtok=10_000_000, batch_nano_per_mtok=4_000_000)
    plain = shelf.a_model(1)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    known(shelf, key, plain)
    before = len(shelf.usage(account))
    batch = shelf.call(key, model, x_tier="batch")
    assert (batch.status, batch.headers["x-gigarouter-cost"]) == (200, "0.00000004")
    assert batch.headers["x-gigarouter-lane"] == "batch"
    for tier in ("default", "interactive"):
        reply = shelf.call(key, model, x_tier=tier)
        assert (reply.headers["x-gigarouter-cost"], "x-gigarouter-lane" in reply.headers) == ("0.0000001", False)
    # A model without a batch price has one price.
    assert shelf.call(key, plain, x_tier="batch").headers["x-gigarouter-cost"] == "0.00000001"
    assert [charged for _, charged in shelf.usage(account)[before:]] == [40, 100, 100, 10]
    refused = shelf.call(key, model, x_tier="fast")
    assert (refused.status, refused.json["error"]["param"]) == (400, "X-Tier")
    assert (refused.headers["x-gigarouter-attempts"], refused.headers["x-gigarouter-cost"]) == ("0", "0.00")
    pricing = models(shelf.product, key)[model]["pricing"]
    assert (pricing["per_million_tokens"], pricing["batch_per_million_tokens"]) == ("0.01", "0.004")


def test_a_cold_model_says_when_to_come_back_and_costs_nothing(shelf: Shelf) -> None:
    model = shelf.a_model(1)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    before = shelf.usage(account)
    shelf.upstreams[0].always = Scripted(
        status=503, body=b'{"error":"Model m is currently loading","estimated_time":20}'
    )
    # The second is told by what the first one learned, and no provider is asked.
    for asked in (1, 1):
        cold = shelf.call(key, model)
        assert (cold.status, cold.json["error"]["code"]) == (503, "model_warming")
        assert 18 <= int(cold.headers["retry-after"]) <= 20
        assert cold.headers["x-gigarouter-cost"] == "0.00"
        assert shelf.asked()[0] == asked
    assert shelf.usage(account) == before


def test_a_call_that_prefers_to_wait_is_answered_once_the_model_is_warm(shelf: Shelf) -> None:
    model = shelf.a_model(1)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    before = len(shelf.usage(account))
    shelf.upstreams[0].script.extend([LOADING, LOADING])
    reply = shelf.call(key, model, prefer="respond-async, wait=3")
    assert (reply.status, reply.headers["preference-applied"]) == (200, "wait=3")
    assert reply.headers["x-gigarouter-attempts"] == "3"
    assert len(shelf.usage(account)) == before + 1
    # Its patience ends; more than the call's own deadline is not given.
    shelf.upstreams[0].always = LOADING
    cold = shelf.call(key, model, prefer="wait=1")
    assert (cold.status, cold.json["error"]["code"]) == (503, "model_warming")
    assert cold.headers["preference-applied"] == "wait=1"
    assert int(cold.headers["x-gigarouter-attempts"]) >= 2
    assert shelf.call(key, model, prefer="wait=999").headers["preference-applied"] == f"wait={DEADLINE_S}"


def test_who_hangs_up_while_waiting_is_not_charged_and_holds_nothing(shelf: Shelf) -> None:
    model = shelf.a_model(1)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    before = shelf.usage(account)
    shelf.upstreams[0].always = LOADING
    request = request_bytes(PATH, key, {"model": model, "input": IDS}, {"prefer": "wait=4"})
    asyncio.run(leave(shelf.product.serves[0].port, request, after_s=0.3))
    until = time.monotonic() + 3
    while shelf.product.account(key)["held"] != "0.00":
        assert time.monotonic() < until
        time.sleep(0.05)
    shelf.upstreams[0].always = Scripted()
    time.sleep(0.6)
    assert shelf.usage(account) == before


def test_a_large_input_goes_in_parts_and_is_billed_once(shelf: Shelf) -> None:
    model = shelf.a_model(1, max_batch=7)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    before = len(shelf.usage(account))
    shelf.upstreams[0].script.extend(Scripted(delay_s=0.01 * (number * 3 % 5)) for number in range(15))
    lists = [[number % 100, 1, 2] for number in range(100)]
    reply = shelf.call(key, model, input_=lists)
    whole = [
        shelf.call(key, model, input_=[one]).json["data"][0]["embedding"] for one in (lists[0], lists[50], lists[99])
    ]
    assert [reply.json["data"][place]["embedding"] for place in (0, 50, 99)] == whole
    assert [one["index"] for one in reply.json["data"]] == list(range(100))
    assert (reply.headers["x-gigarouter-attempts"], reply.json["usage"]["prompt_tokens"]) == ("1", 300)
    assert shelf.usage(account)[before : before + 1] == [(300, 300)]
    assert len(shelf.usage(account)) == before + 4
    assert shelf.asked()[0] == 15 + 3


def test_a_hedged_call_is_answered_by_the_quicker_of_two_and_charged_once(shelf: Shelf) -> None:
    model = shelf.a_model(2, cost_nano_per_mtok=3_000_000)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    # What is usual there, and as many calls as earn a hedge.
    for _ in range(30):
        shelf.call(key, model)
    before, asked = len(shelf.usage(account)), shelf.asked()
    shelf.upstreams[0].always = Scripted(delay_s=30)
    reply = shelf.call(key, model, provider={"hedge": True})
    assert (reply.status, reply.headers["x-gigarouter-attempts"]) == (200, "2")
    assert reply.headers["x-gigarouter-provider"] == f"{model.removeprefix('tests/')}-1"
    assert [now - then for now, then in zip(shelf.asked(), asked, strict=True)] == [1, 1, 0]
    assert shelf.usage(account)[before:] == [(10, 10)]
    log = shelf.product.serves[0].said_since_start()
    lost = [json.loads(line) for line in log.splitlines() if '"hedge_lost"' in line]
    assert [(one["provider"], one["cost_nano_usd"]) for one in lost] == [(f"{model.removeprefix('tests/')}-0", 30)]


def test_all_processes_together_send_no_more_than_a_provider_grants(shelf: Shelf) -> None:
    model = shelf.a_model(2, requests_per_minute=12)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    used = 2  # by the calls that told that the model is known

    async def many() -> list[Reply]:
        request = request_bytes(PATH, key, {"model": model, "input": IDS})
        return await asyncio.gather(*(send(shelf.product.serves[n % 2].port, request) for n in range(40)))

    replies = asyncio.run(many())
    assert shelf.asked() == [12 - used, 12, 0]
    refused = [reply for reply in replies if reply.status != 200]
    assert len(refused) == 40 - 24 + used
    for reply in refused:
        assert (reply.status, reply.json["error"]["code"]) == (503, "capacity_exhausted")
        assert 1 <= int(reply.headers["retry-after"]) <= 61
        assert (reply.headers["x-gigarouter-attempts"], reply.headers["x-gigarouter-cost"]) == ("0", "0.00")
    assert {reply.headers["x-gigarouter-attempts"] for reply in replies if reply.status == 200} == {"1"}
    assert len(shelf.usage(account)) == used + 24 - used


def test_what_a_dead_process_had_taken_comes_back(shelf: Shelf) -> None:
    model = shelf.a_model(1, concurrency=2)
    _, key = shelf.a_customer()
    known(shelf, key, model)
    shelf.upstreams[0].script.extend([Scripted(delay_s=30)] * 2)
    victim = shelf.product.serves[1]

    async def two_calls_and_a_death() -> None:
        request = request_bytes(PATH, key, {"model": model, "input": IDS})
        sending = [asyncio.create_task(leave(victim.port, request, after_s=2)) for _ in range(2)]
        while len(shelf.upstreams[0].calls) < 2:  # noqa: ASYNC110 - the other end is a server in a thread
            await asyncio.sleep(0.02)
        full = await send(shelf.product.serves[0].port, request)
        assert (full.status, full.json["error"]["code"]) == (503, "capacity_exhausted")
        victim.kill()
        await asyncio.gather(*sending)

    try:
        asyncio.run(two_calls_and_a_death())
        until = time.monotonic() + DEADLINE_S + 10
        while shelf.call(key, model).status != 200:
            assert time.monotonic() < until, "the dead process's leases never ended"
            time.sleep(0.2)
    finally:
        victim.start()
        victim.wait_until_ready()


def test_errors_tell_attempts_and_provider_and_that_they_cost_nothing(shelf: Shelf) -> None:
    model = shelf.a_model(2)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    before = shelf.usage(account)
    for upstream in shelf.upstreams:
        upstream.always = Scripted(status=500)
    failed = shelf.call(key, model)
    assert (failed.status, failed.json["error"]["code"]) == (503, "provider_unavailable")
    told = [failed.headers[f"x-gigarouter-{name}"] for name in ("attempts", "provider", "cost")]
    assert told == ["2", f"{model.removeprefix('tests/')}-1", "0.00"]
    assert int(failed.headers["retry-after-ms"]) <= 1000 * int(failed.headers["retry-after"])
    refused = shelf.call(key, ModelId("tests/no-such-model"))
    assert (refused.status, refused.headers["x-gigarouter-attempts"]) == (404, "0")
    assert "x-gigarouter-provider" not in refused.headers
    assert shelf.usage(account) == before


def test_when_all_hang_the_answer_says_so_within_the_deadline(shelf: Shelf) -> None:
    model = shelf.a_model(3)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    before = shelf.usage(account)
    for upstream in shelf.upstreams:
        upstream.always = Scripted(delay_s=60)
    # The wire gives up after 30 s.
    late = shelf.call(key, model)
    assert (late.status, late.json["error"]["code"]) == (504, "upstream_timeout")
    assert int(late.headers["openai-processing-ms"]) < (DEADLINE_S + 2) * 1000
    assert (late.headers["x-gigarouter-attempts"], shelf.asked()) == ("3", [1, 1, 1])
    assert shelf.usage(account) == before


@pytest.mark.parametrize("status", [401, 402])
def test_our_own_refused_key_is_503_for_the_customer_and_nothing_of_the_provider_gets_out(
    shelf: Shelf, status: int
) -> None:
    model = shelf.a_model(1)
    _, key = shelf.a_customer()
    known(shelf, key, model)
    body = b'{"error":{"message":"your key sk-canary is out of credit, dear gigarouter","code":"no_credit"}}'
    shelf.upstreams[0].always = Scripted(status=status, body=body)
    replies = [shelf.call(key, model) for _ in range(3)]
    assert {reply.status for reply in replies} == {503}
    assert not any(word in reply.body for reply in replies for word in (b"canary", b"no_credit", b"dear"))
    assert replies[0].headers["x-should-retry"] == "false"
    log = shelf.product.serves[0].said_since_start()
    alarms = [
        line
        for line in log.splitlines()
        if "provider_credential_refused" in line and f"{model.removeprefix('tests/')}-0" in line
    ]
    assert len(alarms) == 1
    assert "canary" not in log
    with urllib.request.urlopen(f"{shelf.product.serves[0].admin_url}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    name = model.removeprefix("tests/")
    assert f'gigarouter_provider_credential_refused_total{{provider="{name}-0"}} 1.0' in metrics


def test_one_of_three_equal_endpoints_that_fails_hard_costs_no_call(shelf: Shelf) -> None:
    model = shelf.a_model(3, priority=1)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    before = len(shelf.usage(account))
    shelf.upstreams[0].always = Scripted(reset=True)
    request = request_bytes(PATH, key, {"model": model, "input": IDS})
    attempts: dict[str, int] = {}

    async def customer(number: int) -> None:
        for _ in range(60):
            reply = await send(shelf.product.serves[number % 2].port, request)
            assert reply.status == 200, reply.json
            took = reply.headers["x-gigarouter-attempts"]
            attempts[took] = attempts.get(took, 0) + 1

    async def all_customers() -> None:
        await asyncio.gather(*(customer(number) for number in range(32)))

    asyncio.run(all_customers())
    assert set(attempts) <= {"1", "2"}
    assert sum(attempts.values()) == 32 * 60
    assert len(shelf.usage(account)) == before + 32 * 60


def test_throttled_everywhere_is_told_the_same_to_this_call_and_the_next(shelf: Shelf) -> None:
    model = shelf.a_model(2)
    account, key = shelf.a_customer()
    known(shelf, key, model)
    before = shelf.usage(account)
    for upstream, seconds in zip(shelf.upstreams, ("40", "20"), strict=False):
        upstream.always = Scripted(status=429, headers={"retry-after": seconds})
    for asked in ([1, 1, 0], [1, 1, 0]):
        reply = shelf.call(key, model)
        assert (reply.status, reply.json["error"]["code"]) == (503, "capacity_exhausted")
        assert 18 <= int(reply.headers["retry-after"]) <= 20
        assert shelf.asked() == asked
    assert shelf.usage(account) == before
