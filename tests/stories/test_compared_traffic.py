"""A share of real answers is compared with a second endpoint's, where the call may go there, within a budget."""

import asyncio
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.embedded import Embedded
from tests.harness.fake_upstream import Upstream, unit_vector
from tests.harness.processes import Product
from tests.harness.raw_http import request_bytes, send
from tests.harness.verified_upstreams import Shifted

MODEL = "tests/compared"
TEXT = "a text that is compared"


class Second(Shifted):
    """The second endpoint, eight numbers wide."""

    def __init__(self) -> None:
        super().__init__(8)


@pytest.fixture
def first() -> Iterator[Upstream]:
    with Upstream(8).in_thread() as running:
        yield running


@pytest.fixture
def second() -> Iterator[Second]:
    with Second().in_thread() as running:
        yield running


def a_product(
    servers: Embedded, url: str, folder: Path, first: Upstream, second: Upstream, **settings: str
) -> tuple[Product, str]:
    servers.redis.command("FLUSHALL")
    product = Product(folder, url, servers.redis_url, jobs=False, settings=settings)
    database = product.database
    model = database.a_model(MODEL)
    database.an_endpoint(model, first.base_url, name="first", priority=1)
    database.an_endpoint(model, second.base_url, name="second", priority=200)
    return product, database.a_key(database.an_account(1_000_000_000))


def call(product: Product, key: str, **more: object) -> list[float]:
    body = {"model": MODEL, "input": TEXT, "encoding_format": "float", **more}
    reply = asyncio.run(send(product.serves[0].port, request_bytes("/v1/embeddings", key, body)))
    assert reply.status == 200, reply.body
    assert reply.headers["x-gigarouter-provider"] == "first"
    vector: list[float] = reply.json["data"][0]["embedding"]
    return vector


def counted(product: Product, name: str) -> float:
    with urllib.request.urlopen(product.serves[0].admin_url + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    start = f'gigarouter_provider_{name}_total{{provider="first"}} '
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def until(product: Product, name: str, value: float) -> None:
    deadline = time.monotonic() + 15
    while counted(product, name) < value:
        assert time.monotonic() < deadline, name
        time.sleep(0.05)


def test_a_difference_alarms_and_has_both_verified_and_nobody_gets_the_second_answer(
    servers: Embedded, database_url: str, tmp_path: Path, first: Upstream, second: Second
) -> None:
    product, key = a_product(servers, database_url, tmp_path, first, second, compare_share="1")
    with product:
        product.wait_until_known(key)
        assert call(product, key) == pytest.approx(unit_vector(TEXT, 8))
        until(product, "answers_compared", 1)
        assert counted(product, "answers_disagreeing") == 0
        second.shift = True
        assert call(product, key) == pytest.approx(unit_vector(TEXT, 8))
        until(product, "answers_disagreeing", 1)
        due = "SELECT count(*) FROM probe_schedule WHERE full_at <= now()"
        deadline = time.monotonic() + 5
        while product.database.value(due) != 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        said = product.serves[0].said_since_start()
        assert "answers_disagree" in said
        assert TEXT not in said
        # Charged once each, for the answer that was given.
        assert product.database.value("SELECT count(*) FROM usage_events") == 2
        # Where the call may not go there, nobody there sees its text.
        seen = len(second.calls)
        call(product, key, provider={"only": ["first"]})
        time.sleep(0.5)
        assert len(second.calls) == seen


@pytest.mark.parametrize("settings", [{}, {"compare_share": "1", "compare_tokens_per_hour": "1"}])
def test_by_default_and_beyond_the_budget_nothing_is_compared(
    servers: Embedded,
    database_url: str,
    tmp_path: Path,
    first: Upstream,
    second: Second,
    settings: dict[str, str],
) -> None:
    product, key = a_product(servers, database_url, tmp_path, first, second, **settings)
    with product:
        product.wait_until_known(key)
        for _ in range(3):
            call(product, key)
        time.sleep(0.5)
        assert not second.calls
