"""Usage, calls and status in Chromium: why a call was refused and what lifts it, with and without script."""

import re
from datetime import UTC, datetime

import pytest
from playwright.async_api import Page, expect

from store.ids import AccountId
from tests.builders.calls import MODELS, Filled
from tests.builders.database import DatabaseBuilder
from tests.harness.browser import NewWindow
from tests.harness.pages import a_member
from tests.harness.pictures import take_pictures

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def filled(build: DatabaseBuilder, account: AccountId) -> Filled:
    return Filled(build, account, datetime.now(UTC))


async def test_usage_calls_and_status_are_accessible_and_fit_a_narrow_screen(
    filled: Filled, open_window: NewWindow
) -> None:
    window = await open_window(a_member(filled.account))
    pages = {"usage": "/usage?by=key", "usage-empty": "/usage?model=none/none", "proof": "/usage/proof"}
    pages |= {"calls": "/calls?outcome=refused", "calls-empty": "/calls?model=none/none"}
    addresses = {name: filled.base + path for name, path in pages.items()} | {"status": "/status"}
    for name, path in addresses.items():
        await window.open(path)
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, name)


async def find_what_lifts_it(page: Page) -> None:
    """From the calls to the page of the license, in three clicks."""
    await page.get_by_label("Outcome").select_option("refused")
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(page.get_by_role("cell", name=re.compile("license_restricted"))).to_be_visible()
    await page.get_by_role("rowheader").get_by_role("link").click()
    await expect(page.get_by_role("heading", name="Refused")).to_be_visible()
    await expect(page.get_by_text("Its license forbids")).to_be_visible()
    await page.get_by_role("link", name="See the license").click()
    await expect(page).to_have_url(re.compile(re.escape(f"/models/{MODELS[0]}")))


@pytest.mark.parametrize("has_script", [True, False])
async def test_why_was_this_call_refused_and_what_lifts_it(
    filled: Filled, open_window: NewWindow, *, has_script: bool
) -> None:
    window = await open_window(a_member(filled.account), java_script_enabled=has_script)
    await find_what_lifts_it(await window.open(f"{filled.base}/calls"))


async def test_a_span_is_chosen_and_the_table_says_what_the_chart_shows(filled: Filled, open_window: NewWindow) -> None:
    page = await (await open_window(a_member(filled.account))).open(f"{filled.base}/usage")
    await page.get_by_role("link", name="7 days", exact=True).click()
    await expect(page.get_by_role("img", name=re.compile("Spent, by model"))).to_be_visible()
    await expect(page.get_by_role("table", name="Spent, by model and day").get_by_role("row")).to_have_count(8)
    await page.get_by_label("By", exact=True).select_option("key")
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_role("table", name="The whole span, by key")).to_be_visible()
    await page.get_by_role("link", name="Equals the ledger").click()
    await expect(page.get_by_role("heading", name="Usage equals the ledger")).to_be_visible()
