"""Nobody goes live whose usage is nothing to bill by; what ops then set is what a customer can compute."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from store.embedded import Embedded
from tests.builders.admin_api import create_endpoint, create_provider
from tests.harness.admin_client import Operator, admin_command, an_operator
from tests.harness.fake_upstream import Counting, Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import request_bytes, send

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TEXT = "The ferry brought flour, letters and, in summer, visitors with folding chairs."
VOUCHED = {"as_reference": "the maker's own service", "allow_zero_cost": True}


@pytest.fixture(scope="module")
def product(servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    running = Product(tmp_path_factory.mktemp("usage"), module_database_url, servers.redis_url, jobs=False)
    with running:
        admin_command(running.environment, "models", "import")
        yield running


@pytest.fixture(scope="module")
def ops(product: Product) -> Operator:
    return an_operator(product.environment, product.serves[0].admin_url)


@pytest.fixture
def upstream() -> Iterator[Counting]:
    with Counting(384).in_thread() as running:
        yield running


def a_provider_and_draft(ops: Operator, upstream: Upstream, name: str) -> tuple[str, str]:
    provider = create_provider(ops, upstream, name)
    return provider["id"], create_endpoint(ops, MODEL, provider, upstream_model="m")["id"]


@pytest.mark.parametrize(
    ("tells", "says"),
    [("characters", "counts characters, not tokens"), ("texts", "something else"), ("nothing", "tell no usage")],
)
def test_usage_that_is_no_count_of_tokens_is_a_failed_step_that_says_what_to_do(
    tells: str, says: str, ops: Operator, upstream: Counting
) -> None:
    upstream.tells = tells
    _, endpoint = a_provider_and_draft(ops, upstream, f"tells-{tells}")
    tested = ops("POST", f"/endpoints/{endpoint}/test", VOUCHED)
    failed: dict[str, Any] = {step["name"]: step["said"] for step in tested["steps"] if step["outcome"] == "failed"}
    assert list(failed) == ["usage"]
    assert says in failed["usage"]
    assert "bytes_per_token" in failed["usage"]
    assert (tested["passed"], tested["state"]) == (False, "quarantined")


def test_with_a_size_per_token_it_goes_live_and_bills_what_anyone_can_compute(
    product: Product, ops: Operator, upstream: Counting
) -> None:
    upstream.tells = "characters"
    provider, endpoint = a_provider_and_draft(ops, upstream, "infinity")
    assert not ops("POST", f"/endpoints/{endpoint}/test", VOUCHED)["passed"]
    ops.edit(f"/providers/{provider}", {"options": {"bytes_per_token": 4}})
    tested = ops("POST", f"/endpoints/{endpoint}:activate", VOUCHED)
    assert (tested["passed"], tested["state"]) == (True, "live"), tested
    finance = an_operator(product.environment, product.serves[0].admin_url, "finance_admin")
    finance("POST", "/prices", {"model": MODEL, "usd_per_mtok": "1.00"}, 201)
    ops("POST", f"/models/{MODEL}:launch", {"reason": "first customers"})
    account = product.database.an_account(1_000_000_000)
    key = product.wait_until_known(product.database.a_key(account))
    request = request_bytes("/v1/embeddings", key, {"model": MODEL, "input": TEXT})
    reply = asyncio.run(send(product.serves[0].port, request))
    assert reply.json["usage"]["prompt_tokens"] == -(-len(TEXT) // 4) == 20
    charged = product.database.rows("SELECT tokens, charged_nano FROM usage_events WHERE account_id = $1", account)
    assert [tuple(row) for row in charged] == [(20, 20_000)]
