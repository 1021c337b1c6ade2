"""A dry run of a provider's test is asked for like any other, and remembered by nobody."""

from collections.abc import Iterator

import pytest

from store.embedded import Embedded
from tests.harness.admin_client import Operator, an_operator
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product


@pytest.fixture(scope="module")
def ops(servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    servers.redis.command("FLUSHALL")
    with Product(tmp_path_factory.mktemp("dry"), module_database_url, servers.redis_url, jobs=False) as product:
        yield an_operator(product.environment, product.serves[0].admin_url)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(384).in_thread() as running:
        yield running


def test_a_dry_run_of_a_test_is_no_replay_of_the_test_and_uses_no_key_up(ops: Operator, upstream: Upstream) -> None:
    provider = ops("POST", "/providers", {"name": "tried", "kind": "openai", "base_url": upstream.base_url}, 201)
    path = f"/providers/{provider['id']}/test"
    asked = {"upstream_model": "m"}
    ops("POST", path, asked, idempotency_key="try-1")
    dry = ops.ask("POST", f"{path}?dry_run=1", asked, idempotency_key="try-1")
    assert dry.status_code == 200
    assert dry.headers["x-gigarouter-dry-run"] == "true"
    assert "idempotency-replayed" not in dry.headers
    assert ops.ask("POST", path, asked, idempotency_key="try-1").headers["idempotency-replayed"] == "true"
