"""One running product for all compatibility stories, with an upstream whose vectors are known beforehand."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from store.embedded import Embedded
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product

DIMENSIONS = 8


class Compat(msgspec.Struct, frozen=True):
    """What a customer's program needs, and where programs of other ecosystems are kept between runs."""

    base_url: str
    key: str
    model: str
    cache: Path


@pytest.fixture(scope="package")
def compat(
    servers: Embedded, template: str, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Compat]:
    """A serve with one account, one key and one live model of eight dimensions."""
    servers.redis.command("FLUSHALL")
    servers.postgres.query(f'CREATE DATABASE "compat" TEMPLATE "{template}"')
    folder = tmp_path_factory.mktemp("compat")
    with Upstream(DIMENSIONS).in_thread() as upstream:
        product = Product(folder, servers.postgres.url("compat"), servers.redis_url)
        model = product.shop.a_model("compat/model", dimensions=DIMENSIONS)
        product.shop.an_endpoint(model, upstream.base_url)
        key = product.shop.a_key(product.shop.an_account(1_000_000_000))
        with product:
            cache = pytestconfig.cache
            assert cache is not None
            yield Compat(product.url, key, model, Path(cache.mkdir("compat")))
    servers.postgres.query('DROP DATABASE "compat" WITH (FORCE)')
