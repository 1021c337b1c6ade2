"""A customer speaks OpenAI's wire, the vendor its own, and what the vendor bills is what the customer pays."""

import asyncio
import struct
from base64 import b64decode
from collections.abc import Iterator

import pytest

from router.changes.transaction import UnitOfWork
from router.registry.specs import EndpointSpec, ProviderSpec
from store.embedded import Embedded
from store.ids import ModelId
from tests.builders.database import add_endpoint, add_model, make_live
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_upstream import tokens_of, unit_vector
from tests.harness.fake_vendors import WIDTH, WIRES, Vendor
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

PATH = "/v1/embeddings"
TEXTS = ["one text", "another, longer text", "ein dritter: größer, 数据"]
TOKENS = 15
NANO_PER_MTOK, THEIR_NANO_PER_MTOK = 2_000_000, 500_000
USAGE = """
    SELECT tokens, provider_tokens, charged_nano, provider_cost_nano FROM usage_events WHERE model_id = $1
    ORDER BY request_id DESC LIMIT 1
"""
COUNT = "SELECT count(*) FROM usage_events WHERE model_id = $1"


class World:
    def __init__(self, product: Product, vendors: dict[str, Vendor]) -> None:
        self.product = product
        self.vendors = vendors
        self.key = product.wait_until_known(product.database.a_key(product.database.an_account(1_000_000)))

    def call(self, name: str, **body: object) -> Reply:
        content = {"model": f"tests/{name}", "input": TEXTS, "encoding_format": "base64"} | body
        return asyncio.run(send(self.product.serves[0].port, request_bytes(PATH, self.key, content), timeout_s=60))


# Behind their own endpoints, which a refused credential takes out of service.
REFUSING = ("cohere", "titan", "jina")


def set_up_catalog(product: Product, vendors: dict[str, Vendor]) -> None:
    async def add_models(work: UnitOfWork) -> None:
        for name in (*vendors, *(f"{name}-refusing" for name in REFUSING)):
            model = await add_model(work.connection, f"tests/{name}", nano_per_mtok=NANO_PER_MTOK)
            await make_live(work.connection, model)

    async def add_endpoints(work: UnitOfWork) -> None:
        refusing = {f"{name}-refusing": vendors[name] for name in REFUSING}
        for name, vendor in (vendors | refusing).items():
            wire = vendor.wire
            options = {**({"vendor": wire.vendor} if wire.vendor else {}), **wire.options}
            endpoint = EndpointSpec(
                wire.model,
                THEIR_NANO_PER_MTOK,
                asks_base64=False,
                native_input_type=wire.words is not None,
                max_batch=wire.most,
            )
            spec, cipher = ProviderSpec(vendor.vendor_url, options=options), product.database.cipher
            await add_endpoint(work, cipher, ModelId(f"tests/{name}"), name, wire.kind, spec, endpoint, wire.credential)

    product.database.as_owner(add_models)
    product.database.as_app(add_endpoints)


@pytest.fixture(scope="module")
def world(servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    servers.redis.command("FLUSHALL")
    vendors = {name: Vendor(name) for name in WIRES}
    product = Product(tmp_path_factory.mktemp("vendors"), module_database_url, servers.redis_url, jobs=False)
    running = [vendor.in_thread() for vendor in vendors.values()]
    for vendor in running:
        vendor.__enter__()
    try:
        set_up_catalog(product, vendors)
        with product:
            yield World(product, vendors)
    finally:
        for vendor in running:
            vendor.__exit__(None, None, None)


@pytest.mark.parametrize("name", WIRES)
def test_a_call_goes_out_in_the_vendors_shape_and_comes_back_in_openais(name: str, world: World) -> None:
    vendor = world.vendors[name]
    for input_type in ("query", "document") if vendor.wire.words else (None,):
        vendor.heard.clear()
        reply = world.call(name, **({"input_type": input_type} if input_type else {}))
        assert reply.status == 200, (reply.body, vendor.faults)
        assert not vendor.faults
        items = reply.json["data"]
        assert [item["index"] for item in items] == [0, 1, 2]
        vectors = [list(struct.unpack(f"<{WIDTH}f", b64decode(item["embedding"]))) for item in items]
        assert vectors == [unit_vector(text, WIDTH) for text in TEXTS]
        assert reply.json["usage"] == {"prompt_tokens": TOKENS, "total_tokens": TOKENS}
        if vendor.wire.words:
            words = dict(zip(("query", "document"), vendor.wire.words, strict=True))
            assert vendor.heard[0].input_type == words[str(input_type)]
        (row,) = world.product.database.rows(USAGE, f"tests/{name}")
        assert tuple(row) == (TOKENS, TOKENS, TOKENS * 2, (TOKENS + 1) // 2)


@pytest.mark.parametrize("name", [name for name, wire in WIRES.items() if wire.most in (96, 100)])
def test_more_inputs_than_a_vendor_takes_at_once_are_split_joined_in_order_and_charged_once(
    name: str, world: World
) -> None:
    vendor = world.vendors[name]
    vendor.heard.clear()
    texts = [f"text {number}" for number in range(201)]
    charges = world.product.database.value(COUNT, f"tests/{name}")
    reply = world.call(name, input=texts)
    assert reply.status == 200, (reply.body, vendor.faults)
    assert not vendor.faults
    assert len(vendor.heard) == 3
    vectors = [list(struct.unpack(f"<{WIDTH}f", b64decode(item["embedding"]))) for item in reply.json["data"]]
    assert vectors == [unit_vector(text, WIDTH) for text in texts]
    assert world.product.database.value(COUNT, f"tests/{name}") == charges + 1
    assert reply.json["usage"]["prompt_tokens"] == sum(map(tokens_of, texts))


def test_a_vendors_refusal_of_our_key_is_never_the_customers_and_costs_nothing(world: World) -> None:
    for name in REFUSING:
        charges = world.product.database.value(COUNT, f"tests/{name}-refusing")
        world.vendors[name].script.append(Scripted(status=401))
        reply = world.call(f"{name}-refusing")
        assert (reply.status, reply.json["error"]["code"]) == (503, "provider_unavailable")
        assert world.product.database.value(COUNT, f"tests/{name}-refusing") == charges
