"""A provider takes our key no more: customers hear 503, ops are told, and a new key is all that it takes to go on."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from typing_extensions import override

from store.embedded import Embedded
from tests.harness.admin_client import Operator, admin_command, an_operator
from tests.harness.fake_upstream import Received, Reply, Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import Reply as Answer
from tests.harness.raw_http import request_bytes, send

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
VOUCHED = {"as_reference": "the maker's own", "allow_zero_cost": True}
OLD, WRONG, NEW = "sk-old-0123456789", "sk-wrong-0123456789", "sk-new-0123456789"
WITHIN_S = 30.0


class Locked(Upstream):
    """Takes one key."""

    key = OLD

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        if received.headers.get("authorization") != f"Bearer {self.key}":
            reply = Reply(
                status=401, body=b'{"error": {"message": "words of the provider", "code": "invalid_api_key"}}'
            )
        return super()._bytes(received, reply)


@pytest.fixture(scope="module")
def product(servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    with Product(tmp_path_factory.mktemp("refused"), module_database_url, servers.redis_url) as running:
        admin_command(running.environment, "models", "import")
        yield running


def call(product: Product, key: str) -> Answer:
    request = request_bytes("/v1/embeddings", key, {"model": MODEL, "input": "one text"})
    return asyncio.run(send(product.serves[0].port, request))


def until_it_is(ops: Operator, endpoint: str, state: str) -> str:
    """Wait; the reason for the state."""
    deadline = time.monotonic() + WITHIN_S
    while (seen := ops("GET", f"/endpoints/{endpoint}"))["state"] != state:
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    return str(seen["reason"])


def test_a_new_credential_brings_the_endpoint_back_by_itself(product: Product) -> None:
    ops = an_operator(product.environment, product.serves[0].admin_url)
    finance = an_operator(product.environment, product.serves[0].admin_url, "finance_admin")
    with Locked(384).in_thread() as upstream:
        body = {"name": "locked", "kind": "openai", "base_url": upstream.base_url, "credential": OLD}
        provider = ops("POST", "/providers", body, 201)["id"]
        endpoint = ops("POST", "/endpoints", {"model": MODEL, "provider": provider}, 201)["id"]
        assert ops("POST", f"/endpoints/{endpoint}:activate", VOUCHED)["state"] == "live"
        finance("POST", "/prices", {"model": MODEL, "usd_per_mtok": "1.00"}, 201)
        ops("POST", f"/models/{MODEL}:launch", {"reason": "first customers"})
        account = product.database.an_account(1_000_000_000)
        key = product.wait_until_known(product.database.a_key(account))
        assert call(product, key).status == 200

        upstream.key = NEW
        refused = call(product, key)
        assert (refused.status, refused.json["error"]["code"]) == (503, "provider_unavailable")
        assert b"words of the provider" not in refused.body
        reason = until_it_is(ops, endpoint, "quarantined")
        assert reason.startswith("CredentialRefused: status 401")
        assert ops("GET", f"/endpoints/{endpoint}")["quarantine_cause"] == "credential_refused"
        assert "provider_credential_refused" in product.serves[0].said_since_start()

        # One that is refused as well changes nothing; it is examined all the same.
        probes = "SELECT count(*) FROM probes WHERE verdict = 'no_answer'"
        ops("POST", f"/providers/{provider}/credential", {"credential": WRONG})
        deadline = time.monotonic() + WITHIN_S
        while product.database.value(probes) == 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert ops("GET", f"/endpoints/{endpoint}")["state"] == "quarantined"

        ops("POST", f"/providers/{provider}/credential", {"credential": NEW})
        until_it_is(ops, endpoint, "live")
        deadline = time.monotonic() + WITHIN_S
        while (answer := call(product, key)).status != 200:
            assert time.monotonic() < deadline, answer.body
            time.sleep(0.1)
        charged = product.database.value("SELECT count(*) FROM usage_events WHERE account_id = $1", account)
        assert charged == 2

        # Nor does one that had a wrong key from the beginning need a second test.
        second = ops("POST", "/providers", body | {"name": "second", "credential": WRONG}, 201)["id"]
        endpoint = ops("POST", "/endpoints", {"model": MODEL, "provider": second}, 201)["id"]
        assert ops("POST", f"/endpoints/{endpoint}:activate", {"allow_zero_cost": True})["state"] == "quarantined"
        ops("POST", f"/providers/{second}/credential", {"credential": NEW})
        until_it_is(ops, endpoint, "live")
