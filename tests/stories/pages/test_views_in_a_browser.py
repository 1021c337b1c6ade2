"""An operator's look at an account, its data and its end, in Chromium: accessible, light and dark, and narrow."""

from datetime import timedelta

import pytest
from playwright.async_api import expect

from router.identity.people.values import OpenView
from store.ids import AccountId, AccountViewId, new_id, wire
from tests.harness.browser import NewWindow, Site, Window
from tests.harness.pages import a_member, an_operator
from tests.harness.pictures import take_pictures

pytestmark = pytest.mark.anyio


async def look(window: Window, name: str) -> None:
    await window.check_accessible()
    await window.check_fits()
    await take_pictures(window, name)


async def test_the_banner_is_on_every_page_of_who_looks(open_window: NewWindow, site: Site, account: AccountId) -> None:
    now, home = site.pages.now, f"/accounts/{wire(AccountId, account)}"
    view = OpenView(AccountViewId(new_id()), account, "Acme", now + timedelta(minutes=20))
    dark = await open_window(an_operator(now=now, view=view), color_scheme="dark")
    await dark.open(f"{home}/keys")
    await dark.check_accessible()
    ops = await open_window(an_operator(now=now, view=view))
    page = await ops.open(f"{home}/keys")
    await expect(page.get_by_role("button", name="Stop looking at Acme")).to_be_visible()
    await look(ops, "account-view")
    page = await ops.open("/models")
    await expect(page.get_by_role("link", name="Its pages")).to_be_visible()
    await ops.open(f"/ops{home}/see")
    await look(ops, "account-view-start")


async def test_an_owners_data_and_closing_are_read_by_all(
    open_window: NewWindow, site: Site, account: AccountId
) -> None:
    home = f"/accounts/{wire(AccountId, account)}"
    owner = await open_window(a_member(account, now=site.pages.now))
    await owner.open(f"{home}/data")
    await look(owner, "data-empty")
    page = await owner.open(f"{home}/close")
    await look(owner, "close")
    await page.get_by_role("checkbox", name="Give up unused credit").check()
    await page.get_by_role("button", name="See what would happen").click()
    await expect(page.get_by_role("button", name="Close Acme for good")).to_be_visible()
    await look(owner, "close-confirm")
    page = await owner.open(f"{home}/data")
    await page.get_by_role("button", name="Order an archive").click()
    await expect(page.get_by_role("status").filter(has_text="is being written")).to_be_visible()
    await look(owner, "data-queued")
