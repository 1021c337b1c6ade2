"""One running product for all compatibility stories, with an upstream whose vectors are known beforehand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.embedded import Embedded
from store.embedded.redis_server import EmbeddedRedis
from tests.harness.customer_program import DIMENSIONS, Compat
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product


@pytest.fixture(scope="session")
def compat(
    servers: Embedded, template: str, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Compat]:
    """A serve with one account, one key and one live model of eight dimensions.

    It lives beside other modules' tests, so its Redis is its own: its jobs would end their holds, and they empty it.
    """
    servers.postgres.query(f'CREATE DATABASE "compat" TEMPLATE "{template}"')
    folder = tmp_path_factory.mktemp("compat")
    redis = EmbeddedRedis(folder, folder, folder / "redis.log")
    redis.launch()
    redis.wait_until_ready()
    with Upstream(DIMENSIONS).in_thread() as upstream:
        product = Product(folder, servers.postgres.url("compat"), redis.url)
        model = product.database.a_model("compat/model", dimensions=DIMENSIONS)
        product.database.an_endpoint(model, upstream.base_url)
        key = product.database.a_key(product.database.an_account(1_000_000_000))
        with product:
            cache = pytestconfig.cache
            assert cache is not None
            yield Compat(product.url, key, model, Path(cache.mkdir("compat")))
    redis.stop()
    servers.postgres.query('DROP DATABASE "compat" WITH (FORCE)')
