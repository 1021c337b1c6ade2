"""A provider that starts to answer from another vector space: nothing of it is delivered, charged, or asked again."""

import asyncio
import time
from pathlib import Path

from store.embedded import Embedded
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import request_bytes, send

PATH = "/v1/embeddings"
MODEL = "tests/pinned"
PIN = "UPDATE endpoints SET upstream_space = $1 WHERE model_id = $2 RETURNING 1"
STATE = "SELECT state || ': ' || state_reason FROM endpoints WHERE model_id = $1"
USAGE = "SELECT count(*) FROM usage_events WHERE account_id = $1"


def test_vectors_of_another_space_are_never_delivered(
    servers: Embedded, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with Upstream().in_thread() as upstream:
        product = Product(tmp_path, database_url, redis_url, jobs=False)
        model = product.database.a_model(MODEL)
        product.database.an_endpoint(model, upstream.worker_url, kind="worker")
        account = product.database.an_account(1_000_000)
        with product:
            key = product.wait_until_known(product.database.a_key(account))
            request = request_bytes(PATH, key, {"model": MODEL, "input": "a text"})
            port = product.serves[0].port

            # Without a pin, and with the right one, it is delivered.
            assert asyncio.run(send(port, request)).status == 200
            product.database.value(PIN, "upstream-space", MODEL)
            time.sleep(0.5)
            assert asyncio.run(send(port, request)).status == 200

            product.database.value(PIN, "the space that was tested", MODEL)
            time.sleep(0.5)
            refused = asyncio.run(send(port, request))
            assert refused.status == 503
            assert b"upstream-space" not in refused.body
            asked = len(upstream.calls)
            assert asyncio.run(send(port, request)).status == 503
            assert len(upstream.calls) == asked, "it was asked again"

            deadline = time.monotonic() + 30
            while "quarantined" not in (said := product.database.value(STATE, MODEL)) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert said.startswith("quarantined: it answers from the space upstream-space")
            assert product.database.value(USAGE, account) == 2
