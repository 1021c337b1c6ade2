"""The finance console in Chromium: accessible and narrow; a difference is resolved by clicks, without script."""

import asyncio

import pytest
from playwright.async_api import expect

from billing.money import NanoUSD
from billing.reconciliation.differences import record_found
from billing.reconciliation.values import Found, Kind
from router.identity.members import Role
from store.postgres import Database
from tests.builders.database import DatabaseBuilder
from tests.harness.browser import NewWindow, Site
from tests.harness.pages import an_operator
from tests.harness.pictures import take_pictures

pytestmark = pytest.mark.anyio

LONG = "txn_with_a_name_of_eighty_characters_and_not_one_space_in_it_anywhere_at_all_000"


@pytest.fixture(scope="module")
def build(build: DatabaseBuilder) -> DatabaseBuilder:
    """With something that differs from Stripe, whose name is hard to lay out."""
    found = Found(Kind.NOT_BOOKED, LONG, NanoUSD(123_456_789_012_000_000), "Stripe has it, the ledger does not.")

    async def record() -> None:
        db = Database(build.url)
        async with db.transaction() as tx:
            await record_found(tx, "stripe", [found])
        await db.close()

    asyncio.run(record())
    return build


async def test_the_console_is_accessible_and_fits_a_narrow_screen(open_window: NewWindow, site: Site) -> None:
    finance = await open_window(an_operator(Role.FINANCE_ADMIN, now=site.pages.now))
    paths = {
        "finance": "/finance",
        "finance-books": "/finance/books",
        "finance-documents": "/finance/documents",
        "finance-close": "/finance/close",
        "finance-month": "/finance/close/2026-10",
        "finance-papers": "/finance/close/2026-10/papers",
        "finance-sign-off": "/finance/close/2026-10/sign-off",
        "finance-differences": "/finance/differences",
        "finance-export": "/finance/exports/new",
        "finance-manual": "/finance/manual/ledger",
    }
    for name, path in paths.items():
        await finance.open(path)
        await finance.check_accessible()
        await finance.check_fits()
        await take_pictures(finance, name)


async def test_a_difference_is_resolved_without_script(open_window: NewWindow, site: Site) -> None:
    viewer = an_operator(Role.FINANCE_ADMIN, now=site.pages.now)
    finance = await open_window(viewer, java_script_enabled=False)
    page = await finance.open("/finance")
    await page.get_by_role("link", name=LONG, exact=True).click()
    await page.get_by_role("link", name="Resolve it").click()
    await page.get_by_role("textbox", name="Reason and evidence").fill("See letter 7 of the bank.")
    await page.get_by_role("button", name="See what would change").click()
    await expect(page.get_by_role("cell", name="resolved", exact=True)).to_be_visible()
    await page.get_by_role("button", name=f"Resolve {LONG}").click()
    await expect(page.get_by_role("status").first).to_contain_text("It is done")
    await finance.check_fits()
