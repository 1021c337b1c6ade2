"""Pages on a database of the module's own, with the shipped catalogue and one account."""

from collections.abc import AsyncIterator

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from gigarouter.settings import Settings
from store.ids import AccountId
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, served_pages


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
def settings(build: DatabaseBuilder, secret_key: str) -> Settings:
    return Settings(database_url=SecretStr(build.url), secret_keys=[SecretStr(secret_key)])


@pytest.fixture(scope="module")
async def lasting_pages(settings: Settings, account: AccountId) -> AsyncIterator[Pages]:
    """The pages of a module, for a test that reads them by many parameters: to start them anew takes 90 ms."""
    async with served_pages(settings) as running:
        yield running


@pytest.fixture
async def pages(settings: Settings) -> AsyncIterator[Pages]:
    async with served_pages(settings) as running:
        yield running
