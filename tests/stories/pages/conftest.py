"""One browser per process and one site per module, with the shipped catalogue and an account.

``installation``, ``api`` and ``pages`` are for stories that sign in and call: the API, a provider, the mails.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from playwright.async_api import Browser
from pydantic import SecretStr

from gigarouter.settings import Settings
from store.embedded import Embedded
from store.ids import AccountId
from tests.builders.database import DatabaseBuilder
from tests.builders.settings import settings_of
from tests.harness.browser import NewWindow, Site, Window, a_browser, a_site, a_window
from tests.harness.fake_upstream import Upstream
from tests.harness.real_pages import LIVE, RealPages, real_pages
from tests.harness.served_api import Credentials, ServedApi, served
from web.viewer import NOBODY, Viewer


@pytest.fixture(scope="session")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    async with a_browser() as running:
        yield running


@pytest.fixture(scope="module")
def secret_key() -> str:
    return Fernet.generate_key().decode()


@pytest.fixture(scope="module")
def build(module_database_url: str, secret_key: str) -> DatabaseBuilder:
    made = DatabaseBuilder(module_database_url, secret_key)
    made.import_seed()
    return made


@pytest.fixture(scope="module")
def account(build: DatabaseBuilder) -> AccountId:
    return build.an_account(5_000_000_000, "Acme")


@pytest.fixture(scope="module")
async def site(browser: Browser, build: DatabaseBuilder, account: AccountId, secret_key: str) -> AsyncIterator[Site]:
    """Everything that the pages show is made before they start."""
    async with a_site(Settings(database_url=SecretStr(build.url), secret_keys=[SecretStr(secret_key)])) as running:
        yield running


@pytest.fixture
async def open_window(browser: Browser, site: Site) -> AsyncIterator[NewWindow]:
    """``await open_window(viewer, color_scheme="dark")``; the test fails for whatever went wrong in one."""
    windows: list[Window] = []

    async def new(viewer: Viewer = NOBODY, **options: Any) -> Window:
        windows.append(await a_window(browser, site, viewer, **options))
        return windows[-1]

    yield new
    for window in windows:
        await window.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """A provider of vectors as wide as the live model's."""
    with Upstream(384).in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def database(servers: Embedded, module_database_url: str, secret_key: str, upstream: Upstream) -> DatabaseBuilder:
    """The shipped catalogue, one model of which is live."""
    servers.redis.command("FLUSHALL")
    made = DatabaseBuilder(module_database_url, secret_key)
    made.sell_from_seed(LIVE, upstream.worker_url)
    return made


@pytest.fixture(scope="module")
def installation(servers: Embedded, database: DatabaseBuilder, secret_key: str) -> Settings:
    return settings_of(database.url, servers.redis_url, secret_key)


@pytest.fixture(scope="module")
async def api(installation: Settings) -> AsyncIterator[ServedApi]:
    async with served(installation, Credentials("", "", LIVE)) as running:
        yield running


@pytest.fixture(scope="module")
async def running_pages(installation: Settings, browser: Browser, api: ServedApi) -> AsyncIterator[RealPages]:
    settings = installation.model_copy(update={"api_url": f"http://127.0.0.1:{api.server.port}"})
    async with real_pages(settings, browser) as running:
        yield running


@pytest.fixture
async def pages(running_pages: RealPages) -> AsyncIterator[RealPages]:
    yield running_pages
    await running_pages.close_windows()
