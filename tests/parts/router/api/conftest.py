"""Tests of the API run on uvloop, as ``serve`` does, and share one way to a served API."""

from collections.abc import AsyncIterator, Iterator

import pytest
from cryptography.fernet import Fernet

from gigarouter.settings import Settings
from store.embedded import Embedded
from tests.builders.database import DatabaseBuilder
from tests.builders.settings import settings_of
from tests.harness.admin_client import admin_command
from tests.harness.fake_upstream import Upstream
from tests.harness.served_api import Credentials, ServedApi, served


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that `serve` runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def installation(servers: Embedded, module_database_url: str) -> Iterator[tuple[Settings, Credentials]]:
    """An account with a key, an operator with theirs, and a live model; made before the loop runs."""
    servers.redis.command("FLUSHALL")
    secret_key = Fernet.generate_key().decode()
    database = DatabaseBuilder(module_database_url, secret_key)
    with Upstream().in_thread() as upstream:
        model = database.a_model("tests/served-api", vocabulary=None)
        database.an_endpoint(model, upstream.base_url)
        key = database.a_key(database.an_account(1_000_000_000))
        environment = {"DATABASE_URL": database.url, "GIGAROUTER_SECRET_KEYS": secret_key}
        operator = admin_command(environment, "operators", "create", "ops@example.com", "--role", "ops")["key"]
        yield settings_of(database.url, servers.redis_url, secret_key), Credentials(key, operator, model)


@pytest.fixture(scope="module")
async def api(installation: tuple[Settings, Credentials]) -> AsyncIterator[ServedApi]:
    """The API of one process, as it is without settings."""
    settings, made = installation
    async with served(settings, made) as running:
        yield running
