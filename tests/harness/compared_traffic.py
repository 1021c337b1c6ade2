"""Two endpoints of one space, of which the first gets the calls and the second a share of them to compare."""

import asyncio
import time
import urllib.request
from pathlib import Path

from store.embedded import Embedded
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import request_bytes, send
from tests.harness.verified_upstreams import Shifted

MODEL = "tests/compared"
TEXT = "a text that is compared"
# Both endpoints are verified anew with all probes.
DUE = "SELECT count(*) FROM probe_schedule WHERE full_at <= now()"


class Second(Shifted):
    """The second endpoint, eight numbers wide."""

    def __init__(self) -> None:
        super().__init__(8)


def a_comparing_product(
    servers: Embedded, url: str, folder: Path, first: Upstream, second: Upstream, **settings: str
) -> tuple[Product, str]:
    """A product with both endpoints, not started, and a key."""
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
    """A metric of the first endpoint's provider."""
    with urllib.request.urlopen(product.serves[0].admin_url + "/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    start = f'gigarouter_provider_{name}_total{{provider="first"}} '
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def until(product: Product, name: str, value: float) -> None:
    deadline = time.monotonic() + 15
    while counted(product, name) < value:
        assert time.monotonic() < deadline, name
        time.sleep(0.05)


def until_both_are_due(product: Product) -> None:
    deadline = time.monotonic() + 30
    while product.database.value(DUE) != 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
