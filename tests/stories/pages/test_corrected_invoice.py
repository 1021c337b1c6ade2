"""A customer has an invoice name another address: a page says what will be done, and jobs do it.

Jobs act as they do in their process; who issues, counts and books is theirs.
"""

import asyncio
import re
from collections.abc import Iterator

import msgspec
import pytest
from playwright.async_api import Page, expect

from billing.documents.issue import issue_waiting
from billing.documents.render import Renderer
from router.identity.members import Role
from store.embedded import Embedded
from store.ids import AccountId, wire
from tests.builders.billed_month import add_seller, an_account_with_a_month, make_month
from tests.builders.billing import billing
from tests.builders.database import DatabaseBuilder
from tests.builders.issued import invoice_of
from tests.harness.browser import NewWindow, Site
from tests.harness.pages import a_member
from tests.harness.pictures import take_pictures

pytestmark = pytest.mark.anyio


class Billed(msgspec.Struct, frozen=True):
    """An account, and the number of its invoice."""

    account: AccountId
    number: str


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def billed(build: DatabaseBuilder, servers: Embedded, renderer: Renderer) -> list[Billed]:
    """Two accounts with last month's invoice of a drawn credit line."""

    async def issue() -> list[Billed]:
        servers.redis.command("FLUSHALL")
        found = []
        async with billing(build.url, servers.redis_url) as b:
            await make_month(b.db)
            await add_seller(b.db)
            for _ in range(2):
                account = await an_account_with_a_month(b, [30_000_003, 20_000_007], line=10**9)
                stored = await invoice_of(b, renderer, account)
                found.append(Billed(account, stored.document.name))
        return found

    return asyncio.run(issue())


async def correct_details(page: Page) -> None:
    await page.get_by_role("link", name="billing details").click()
    await page.get_by_role("textbox", name="Street and number").fill("New Street 2")
    await page.get_by_role("button", name="Save billing details").click()
    await expect(page.get_by_role("status").first).to_contain_text("Documents that are issued from now on say this.")


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])
async def test_an_invoice_s_address_is_corrected(
    billed: list[Billed], renderer: Renderer, open_window: NewWindow, site: Site, has_script: bool
) -> None:
    one = billed[0 if has_script else 1]
    viewer = a_member(one.account, Role.FINANCE, now=site.pages.now)
    window = await open_window(viewer, java_script_enabled=has_script)
    page = await window.open(f"/accounts/{wire(AccountId, one.account)}/documents")
    await page.get_by_role("link", name=one.number, exact=True).click()
    documents = page.get_by_role("navigation", name="Acme").get_by_role("link", name="Documents")
    await expect(page.get_by_text("A document never changes.")).to_be_visible()

    button = page.get_by_role("button", name=f"See what a correction of {one.number} would do")
    await correct_details(page)

    await documents.click()
    await page.get_by_role("link", name=one.number, exact=True).click()
    await button.click()
    await expect(page.get_by_text(f"A credit note takes {one.number} back, all of it.")).to_be_visible()
    await expect(page.get_by_text("A new invoice with another number follows it")).to_be_visible()
    address = page.get_by_role("row", name=re.compile("^Address"))
    await expect(address).to_contain_text("Main Street 1")
    await expect(address).to_contain_text("New Street 2")
    await window.check_fits()
    if has_script:
        await window.check_accessible()
        await take_pictures(window, "money-correction")
    # Whoever goes back has changed nothing.
    await page.get_by_role("link", name="Back, change nothing").click()
    await expect(page.get_by_text("It is taken back by")).to_have_count(0)
    await button.click()
    await page.get_by_role("button", name=f"Take {one.number} back and issue it anew").click()
    await expect(page.get_by_role("status").first).to_contain_text("taken back and issued anew")

    # A credit note, and the new invoice after it.
    while await issue_waiting(site.pages.context.writes.db, renderer):
        pass
    await documents.click()
    rows = page.get_by_role("row")
    await expect(rows).to_have_count(4)
    numbers = [re.search(r"ACME-\w+-\d{4}-\d{6}", text) for text in (await rows.all_inner_texts())[1:]]
    newest, note, corrected = [found.group() for found in numbers if found]
    assert corrected == one.number
    assert note.startswith("ACME-CN-")
    assert newest.startswith("ACME-INV-")
    assert newest != one.number
    await page.get_by_role("link", name=note, exact=True).click()
    await page.get_by_role("link", name=one.number, exact=True).click()
    await expect(page.get_by_text(f"It is taken back by {note}.")).to_be_visible()
    await expect(button).to_have_count(0)
    file = await page.request.get(f"{page.url.rpartition('/')[0]}/{newest}/json")
    assert "New Street 2" in await file.text()
