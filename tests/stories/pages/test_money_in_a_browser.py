"""An account's money in Chromium, and what each mail looks like: accessible, narrow, whole without a script."""

import re

import pytest
from playwright.async_api import expect

from mail.render import Surroundings, render
from router.identity.members import Role
from store.ids import AccountId, wire
from tests.builders.account_money import an_account_with_papers
from tests.builders.database import DatabaseBuilder
from tests.builders.example_mails import EXAMPLES, stored
from tests.harness.browser import NewWindow, Site
from tests.harness.pages import a_member
from tests.harness.pictures import take_pictures

pytestmark = pytest.mark.anyio

PAGES = ("/credit", "/credit/movements", "/credit/recharge", "/credit/caps", "/credit/alerts", "/documents", "/billing")


@pytest.fixture(scope="module")
def rich(build: DatabaseBuilder) -> AccountId:
    return an_account_with_papers(build)


async def test_pages_of_money_are_accessible_and_fit_a_narrow_screen(
    rich: AccountId, open_window: NewWindow, site: Site
) -> None:
    window = await open_window(a_member(rich, Role.FINANCE, now=site.pages.now))
    for path in PAGES:
        await window.open(f"/accounts/{wire(AccountId, rich)}{path}")
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, f"money{path.replace('/', '-')}")


async def test_a_second_member_as_finance_files_the_month_and_corrects_the_address_without_a_script(
    rich: AccountId, open_window: NewWindow, site: Site
) -> None:
    finance = await open_window(a_member(rich, Role.FINANCE, now=site.pages.now), java_script_enabled=False)
    page = await finance.open(f"/accounts/{wire(AccountId, rich)}/credit")
    await expect(page.get_by_role("link", name="Keys")).to_have_count(0)
    await page.get_by_role("link", name="Documents").click()
    await page.get_by_role("link", name=re.compile("ACME-ST-")).click()
    await take_pictures(finance, "money-document")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="PDF", exact=True).click()
    assert (await (await download.value).path()).read_bytes().startswith(b"%PDF")
    await page.get_by_role("link", name="billing details").click()
    await page.get_by_role("textbox", name="Street and number").fill("New Street 2")
    await page.get_by_role("button", name="Save billing details").click()
    await expect(page.get_by_role("status").first).to_contain_text("Documents that are issued from now on say this.")
    await expect(page.get_by_role("textbox", name="Street and number")).to_have_value("New Street 2")


async def test_a_cap_is_set_by_keyboard_alone(rich: AccountId, open_window: NewWindow, site: Site) -> None:
    owner = await open_window(a_member(rich, Role.OWNER, now=site.pages.now))
    page = await owner.open(f"/accounts/{wire(AccountId, rich)}/credit/caps")
    await page.get_by_role("textbox", name="Per month (USD)").focus()
    await page.keyboard.type("20")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status").first).to_have_text("The caps are set.")
    await expect(page.get_by_role("row", name=re.compile("per month"))).to_contain_text("$20.00")


async def test_each_mail_fits_a_phone_and_can_be_read(open_window: NewWindow, site: Site) -> None:
    window = await open_window()
    for number, mail in enumerate(EXAMPLES):
        html = render(stored(mail), mail, Surroundings(site.url)).html
        await window.page.set_content(html)
        await window.check_fits()
        if number % 9 == 0:
            await window.check_accessible()
        await take_pictures(window, f"mail-{mail.kind.replace('_', '-')}")
