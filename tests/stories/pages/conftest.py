"""One browser per process and one site per module, with the shipped catalogue and an account."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from playwright.async_api import Browser
from pydantic import SecretStr

from gigarouter.settings import Settings
from store.ids import AccountId
from tests.builders.database import DatabaseBuilder
from tests.harness.browser import NewWindow, Site, Window, a_browser, a_site, a_window
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
