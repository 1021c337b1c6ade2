"""The finance console in Chromium: accessible and narrow; a difference is resolved by clicks, without script."""

import asyncio
from datetime import UTC, datetime

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

MAP = '[columns]\nday = "day"\nmodel = "model"\namount = "usd"\n'
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
    model = build.a_model("billed/one", nano_per_mtok=10_000_000)
    build.an_endpoint(model, "http://127.0.0.1:9", name="vendor-that-bills")
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
        "finance-results": "/finance/results",
        "finance-contract": "/finance/contracts/new",
        "finance-lines": "/finance/lines",
        "finance-import": "/finance/provider-invoices/import",
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


async def test_a_provider_s_invoice_is_uploaded_and_seen_beside_our_cost_without_script(
    open_window: NewWindow, site: Site
) -> None:
    viewer = an_operator(Role.FINANCE_ADMIN, now=site.pages.now)
    finance = await open_window(viewer, java_script_enabled=False)
    page = await finance.open("/finance/invoice-maps/new")
    await page.get_by_role("textbox", name="Provider").fill("vendor-that-bills")
    await page.get_by_role("textbox", name="Map, as TOML").fill(MAP)
    await page.get_by_role("button", name="See what would change").click()
    await page.get_by_role("button", name="Store the map of vendor-that-bills").click()
    await page.get_by_role("navigation", name="Path").get_by_role("link", name="Provider invoices").click()
    await page.get_by_role("link", name="Import an invoice").first.click()
    today = datetime.now(UTC).date()
    typed = {
        "Provider": "vendor-that-bills",
        "Number of the invoice": "R-7",
        "Period": f"{today:%Y-%m}",
        "Total, USD": "1.25",
    }
    for name, value in typed.items():
        await page.get_by_role("textbox", name=name).fill(value)
    content = f"day,model,usd\n{today},billed/one,1.25\n".encode()
    await page.get_by_label("CSV file").set_input_files({"name": "r7.csv", "mimeType": "text/csv", "buffer": content})
    await page.get_by_role("button", name="See what would change").click()
    row = page.get_by_role("row", name=f"billed/one, {today}")
    await expect(row).to_contain_text("billed 1.25 USD, our cost 0.00")
    await take_pictures(finance, "finance-import-confirmed")
    await page.get_by_role("button", name="Import R-7").click()
    await expect(page.get_by_role("heading", name="Provider invoice R-7")).to_be_visible()
    await finance.check_fits()
    await take_pictures(finance, "finance-provider-invoice")
