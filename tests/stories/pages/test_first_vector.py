"""From the page of signing in to a first vector: one mail, two pages, and the page says what became of the call."""

import re
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, expect

from gigarouter.settings import Settings
from store.embedded import Embedded
from tests.builders.database import DatabaseBuilder
from tests.builders.settings import settings_of
from tests.harness.fake_upstream import Upstream
from tests.harness.pictures import take_pictures
from tests.harness.real_pages import RealPages, real_pages
from tests.harness.served_api import Credentials, ServedApi, served

pytestmark = pytest.mark.anyio
MODEL = "tests/first-vector"
KEY = re.compile(r"gr_live_\w{8}_\w{32}_\w{6}")


@pytest.fixture(scope="module")
def installation(servers: Embedded, module_database_url: str, secret_key: str) -> Iterator[Settings]:
    servers.redis.command("FLUSHALL")
    database = DatabaseBuilder(module_database_url, secret_key)
    with Upstream().in_thread() as upstream:
        database.an_endpoint(database.a_model(MODEL, vocabulary=None), upstream.base_url)
        yield settings_of(database.url, servers.redis_url, secret_key)


@pytest.fixture(scope="module")
async def api(installation: Settings) -> AsyncIterator[ServedApi]:
    async with served(installation, Credentials("", "", MODEL)) as running:
        yield running


@pytest.fixture
async def pages(installation: Settings, browser: Browser, api: ServedApi) -> AsyncIterator[RealPages]:
    settings = installation.model_copy(update={"api_url": f"http://127.0.0.1:{api.server.port}"})
    async with real_pages(settings, browser) as running:
        yield running
        await running.close_windows()


@pytest.mark.parametrize("script", [True, False])
async def test_two_pages_and_one_mail_lead_to_a_first_vector(pages: RealPages, api: ServedApi, script: bool) -> None:
    window = await pages.window(java_script_enabled=script)
    email = f"first-{script}@example.com".lower()
    page = await window.open(f"/sign-in?next=/models/{MODEL}")
    await pages.type_code(page, email)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your account is open")
    curl = await page.get_by_label("A first call by curl").locator("code").text_content()
    assert curl is not None
    found = KEY.search(curl)
    assert found is not None
    assert MODEL in curl
    body = {"model": MODEL, "input": "hello"}
    answer = await api.client.post(
        "/v1/embeddings", json=body, headers={"authorization": f"Bearer {found[0]}", "content-type": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    if script:
        await expect(page.get_by_text("upstream")).to_be_visible(timeout=20_000)
        await take_pictures(window, "first-call")
        await expect(page.locator("#live")).to_have_text("Your first call has arrived.")
    else:
        link = await page.get_by_role("link", name="See whether your first call").get_attribute("href")
        assert link is not None
        await page.goto(link)
        again = page.get_by_role("link", name="Look again")
        while await again.count():
            await again.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your first call has arrived")
    await expect(page.get_by_text("answered")).to_be_visible()
    assert (await pages.inbox.kinds(email)).count("sign_in_code") == 1
