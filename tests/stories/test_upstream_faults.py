"""Whatever an upstream does: no wrong vector is delivered, nobody pays for it, and a second endpoint saves the call."""

import asyncio
import struct
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from router.changes.transaction import UnitOfWork
from router.registry.specs import EndpointSpec, ProviderSpec
from store.embedded import Embedded
from store.ids import AccountId, ModelId
from tests.builders.database import DatabaseBuilder, add_endpoint, add_model, make_live
from tests.harness.fake_upstream import Upstream, unit_vector
from tests.harness.faulty_proxies import HANGS, ODD, PLAYS, Play, Proxies, endless, endless_in_one
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

PATH = "/v1/embeddings"
INPUT = [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
COST_NANO = 10
CREDIT_NANO = 1_000_000
DEADLINE_S = 3.0
BIG: dict[str, Play | None] = {"an endless body": endless, "a gigabyte": endless_in_one}
ALL = PLAYS | HANGS | ODD | BIG
GROWTH_KB_MAX = 32 * 1024
VECTORS = [unit_vector(str(ids), 8) for ids in INPUT]


def model_of(fault: str, *, helped: bool) -> ModelId:
    return ModelId(f"tests/{list(ALL).index(fault)}-{'helped' if helped else 'alone'}")


def set_up_catalog(database: DatabaseBuilder, proxies: Proxies, honest: Upstream) -> None:
    """For each fault a model whose only endpoint has it, and one with a second, honest endpoint."""
    names = [model_of(fault, helped=helped) for fault in ALL for helped in (False, True)]

    async def add_models(work: UnitOfWork) -> None:
        for name in names:
            model = await add_model(work.connection, name, tokenizer="tests", vocabulary_size=100)
            await make_live(work.connection, model)

    async def add_endpoints(work: UnitOfWork) -> None:
        cipher = database.cipher
        for number, name in enumerate(names):
            spec = ProviderSpec(base_url=f"http://127.0.0.1:{proxies[list(ALL)[number // 2]].port}/v1")
            first = EndpointSpec(upstream_model=name, priority=1)
            await add_endpoint(work, cipher, name, f"faulty-{number}", "openai", spec, first, "sk-faulty-upstream")
            if number % 2:
                second = EndpointSpec(upstream_model=name, priority=2, cost_nano_per_mtok=1000)
                spec = ProviderSpec(base_url=honest.base_url)
                await add_endpoint(work, cipher, name, f"honest-{number}", "openai", spec, second, "sk-honest")

    database.as_owner(add_models)
    database.as_app(add_endpoints)


@pytest.fixture(scope="module")
def proxies() -> Iterator[Proxies]:
    with Upstream().in_thread() as upstream, Proxies(upstream.port, ALL) as running:
        yield running


class Told:
    """The product with a customer, and what every fault's calls were answered: asked all at once."""

    def __init__(self, product: Product, proxies: Proxies) -> None:
        self.product = product
        self.proxies = proxies
        self.account: AccountId = product.database.an_account(CREDIT_NANO)
        self.key = product.wait_until_known(product.database.a_key(self.account))
        # Who calls again, so that what the first was charged can be summed at any time.
        self.other_account: AccountId = product.database.an_account(CREDIT_NANO)
        self.other_key = product.wait_until_known(product.database.a_key(self.other_account))
        self.took_s: dict[ModelId, float] = {}
        self.replies: dict[ModelId, Reply] = asyncio.run(self._ask_all())
        rows = product.database.rows(
            "SELECT request_id, charged_nano FROM usage_events WHERE account_id = $1", self.account
        )
        self.charged = [(row["request_id"], row["charged_nano"]) for row in rows]

    def charges(self, reply: Reply) -> list[int]:
        request_id = UUID(reply.headers["x-request-id"].removeprefix("req_"))
        return [nano for of, nano in self.charged if of == request_id]

    async def _ask_all(self) -> dict[ModelId, Reply]:
        turns = asyncio.Semaphore(16)
        names = [model_of(fault, helped=helped) for fault in PLAYS | ODD for helped in (False, True)]
        slow = [model_of(fault, helped=helped) for fault in HANGS for helped in (False, True)]

        async def ask(name: ModelId) -> Reply:
            async with turns:
                return await self.call(name)

        replies = await asyncio.gather(*map(self.call, slow), *map(ask, names))
        return dict(zip([*slow, *names], replies, strict=True))

    async def call(self, name: ModelId, key: str | None = None) -> Reply:
        body = {"model": name, "input": INPUT, "encoding_format": "base64"}
        began = time.monotonic()
        reply = await send(self.product.serves[0].port, request_bytes(PATH, key or self.key, body))
        self.took_s[name] = time.monotonic() - began
        return reply


@pytest.fixture(scope="module")
def told(
    servers: Embedded, module_database_url: str, proxies: Proxies, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    servers.redis.command("FLUSHALL")
    settings = {"call_deadline_s": str(DEADLINE_S), "log_level": "debug"}
    folder = tmp_path_factory.mktemp("faults")
    product = Product(folder, module_database_url, servers.redis_url, jobs=False, settings=settings)
    with Upstream().in_thread() as honest:
        set_up_catalog(product.database, proxies, honest)
        with product:
            yield Told(product, proxies)


def delivered(reply: Reply) -> list[list[float]]:
    items = sorted(reply.json["data"], key=lambda item: item["index"])
    return [list(struct.unpack("<8f", b64decode(item["embedding"]))) for item in items]


@pytest.mark.parametrize("fault", [*PLAYS, *HANGS])
def test_a_second_endpoint_saves_the_call_and_it_is_charged_once(fault: str, told: Told) -> None:
    reply = told.replies[model_of(fault, helped=True)]
    assert reply.status == 200, reply.body
    assert delivered(reply) == VECTORS
    assert told.charges(reply) == [COST_NANO]
    assert reply.headers["x-gigarouter-attempts"] == "2"
    assert reply.headers["x-gigarouter-provider"].startswith("honest-")


@pytest.mark.parametrize("fault", [*PLAYS, *HANGS])
def test_alone_the_call_fails_within_its_deadline_and_costs_nothing(fault: str, told: Told) -> None:
    name = model_of(fault, helped=False)
    reply = told.replies[name]
    assert reply.status in (502, 503, 504), reply.body
    assert set(reply.json) == {"error"}
    assert {"message", "type", "code", "param"} <= set(reply.json["error"])
    assert told.charges(reply) == []
    assert b"words of the provider" not in reply.body
    assert b"somebody else" not in reply.body
    assert told.proxies[fault].calls >= 1
    if fault in HANGS:
        assert reply.status == 504
        assert told.took_s[name] >= DEADLINE_S


@pytest.mark.parametrize("fault", ODD)
def test_an_odd_but_right_answer_is_delivered_and_charged_once(fault: str, told: Told) -> None:
    for helped in (False, True):
        reply = told.replies[model_of(fault, helped=helped)]
        assert reply.status == 200, reply.body
        assert delivered(reply) == VECTORS
        assert told.charges(reply) == [COST_NANO]
        assert reply.headers["x-gigarouter-attempts"] == "1"


def test_afterwards_the_books_are_right_to_the_nano(told: Told) -> None:
    calls = [reply for reply in told.replies.values() if reply.status == 200]
    account = told.product.account(told.key)
    spent = "SELECT sum(charged_nano)::bigint FROM usage_events WHERE account_id = $1"
    posted = "SELECT posted_nano FROM ledger_accounts WHERE account_id = $1 AND kind = 'customer_credit'"
    assert told.product.database.value(spent, told.account) == len(calls) * COST_NANO
    assert abs(told.product.database.value(posted, told.account)) == CREDIT_NANO - len(calls) * COST_NANO
    assert float(account["held"]) == 0


STORM = 60


@pytest.mark.parametrize("fault", ["status 503", "reset after the request", "JSON cut at 8/16", "NaN in base64"])
def test_a_storm_of_one_upstreams_failures_costs_no_call(fault: str, told: Told) -> None:
    async def storm() -> list[Reply]:
        return await asyncio.gather(*(told.call(model_of(fault, helped=True), told.other_key) for _ in range(STORM)))

    charged = "SELECT count(*), coalesce(sum(charged_nano), 0)::bigint FROM usage_events WHERE account_id = $1"
    before = told.product.database.rows(charged, told.other_account)[0]
    replies = asyncio.run(storm())
    after = told.product.database.rows(charged, told.other_account)[0]
    assert [reply.status for reply in replies] == [200] * STORM
    assert all(delivered(reply) == VECTORS for reply in replies)
    assert after[0] - before[0] == STORM
    assert after[1] - before[1] == STORM * COST_NANO


def test_a_redirect_is_followed_to_nobody_and_our_credential_is_told_to_nobody(told: Told) -> None:
    log = told.product.serves[0].log.read_text()
    assert log
    for secret in ("sk-faulty-upstream", "sk-honest", told.key):
        assert secret not in log
        assert not [reply for reply in told.replies.values() if secret.encode() in reply.body]


@pytest.mark.parametrize("fault", BIG)
def test_a_body_without_end_is_let_go_before_it_fills_the_memory(fault: str, told: Told) -> None:
    pid = told.product.serves[0].pid
    asyncio.run(told.call(model_of("an error in a 200", helped=True), told.other_key))
    # From here on the kernel counts the peak anew.
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before_kb, sent = peak_kb(pid), told.proxies[fault].sent_bytes
    for helped, status in ((False, (502, 503)), (True, (200,))):
        reply = asyncio.run(told.call(model_of(fault, helped=helped), told.other_key))
        assert reply.status in status, reply.body
    assert told.proxies[fault].calls == 2
    assert told.proxies[fault].sent_bytes > sent
    assert peak_kb(pid) - before_kb < GROWTH_KB_MAX


def peak_kb(pid: int) -> int:
    """The most that the process had at any moment."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
