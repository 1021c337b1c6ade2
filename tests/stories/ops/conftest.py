"""One running product for the stories of a module, an operator of each role, and a provider that answers."""

from collections.abc import Iterator

import pytest

from store.embedded import Embedded
from tests.harness.admin_client import Operator, admin_command, an_operator
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product


@pytest.fixture(scope="module")
def product(servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    running = Product(tmp_path_factory.mktemp("admin-api"), module_database_url, servers.redis_url, jobs=False)
    with running:
        admin_command(running.environment, "models", "import")
        yield running


@pytest.fixture(scope="module")
def ops(product: Product) -> Operator:
    return an_operator(product.environment, product.serves[0].admin_url, "ops")


@pytest.fixture(scope="module")
def finance(product: Product) -> Operator:
    return an_operator(product.environment, product.serves[0].admin_url, "finance_admin")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(384).in_thread() as running:
        yield running
