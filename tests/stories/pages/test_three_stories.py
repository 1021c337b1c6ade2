"""The three readers' first stories, each by keyboard alone and counted: a first vector, a month's papers, a provider.

They begin where README.md sends each reader: a customer to the page of a model, operators to the address of their
invitation. What is held to a bar is what does not depend on the machine: pages and mails. Seconds are printed (``-s``).
"""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from playwright.async_api import Browser, expect

from billing.close.finish import advance
from billing.documents.render import Renderer
from gigarouter.settings import Settings
from router.changes.transaction import transact
from router.identity.members import Role
from router.identity.people.invitations import invite
from store.embedded import Embedded
from store.ids import AccountId
from tests.builders.billed_month import add_seller, an_account_with_a_month, last_month, make_month
from tests.builders.billing import billing
from tests.builders.closing_month import check_books
from tests.builders.database import ACTOR, DatabaseBuilder
from tests.builders.issued import invoice_of
from tests.harness.fake_upstream import Upstream
from tests.harness.keyboard import Keyboard
from tests.harness.manual import Manual
from tests.harness.pictures import take_pictures
from tests.harness.real_pages import LIVE, RealPages, an_operator, real_pages
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio
CONTESTED = "codefuse-ai/F2LLM-v2-4B"
MONTH = f"{last_month():%Y-%m}"
KEY = re.compile(r"gr_(live|test|mgmt)_\w{4}")
EXACT = b"0.05000001"


class Billed(msgspec.Struct, frozen=True):
    """An account with two calls of last month, and the number of the invoice for them."""

    account: AccountId
    invoice: str


@pytest.fixture(scope="module")
def billed(servers: Embedded, database: DatabaseBuilder) -> Billed:
    """Calls of 0.05000001 USD, and a key that nobody of finance may see."""

    async def bill() -> Billed:
        renderer = Renderer()
        async with billing(database.url, servers.redis_url) as b:
            await make_month(b.db)
            await add_seller(b.db)
            account = await an_account_with_a_month(b, [30_000_003, 20_000_007], line=10**9)
            await check_books(b)
            stored = await invoice_of(b, renderer, account)
        renderer.close()
        return Billed(account, stored.document.name)

    made = asyncio.run(bill())
    database.a_key(made.account)
    return made


@pytest.fixture(scope="module")
async def running_pages(
    installation: Settings, browser: Browser, billed: Billed, api: ServedApi
) -> AsyncIterator[RealPages]:
    assert billed.invoice
    settings = installation.model_copy(update={"api_url": f"http://127.0.0.1:{api.server.port}"})
    async with real_pages(settings, browser) as running:
        yield running


async def run(line: str) -> str:
    """Run a line that a page shows, as it stands there."""
    pipe = asyncio.subprocess.PIPE
    shell = await asyncio.create_subprocess_exec("bash", "-c", line, stdout=pipe, stderr=pipe)
    out, err = await shell.communicate()
    assert shell.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])
async def test_a_customer_has_a_first_vector_after_three_pages_and_one_mail(
    pages: RealPages, *, has_script: bool
) -> None:
    window = await pages.window(java_script_enabled=has_script, permissions=["clipboard-read", "clipboard-write"])
    page, email = await window.open(f"/models/{CONTESTED}"), f"customer-{has_script}@example.com".lower()
    async with Keyboard(window, "a first vector") as keys:
        await keys.follow("Get a key")
        await keys.type("E-mail address", email)
        await keys.send()
        mails = await pages.inbox.kinds(email)
        await keys.type("Code", await pages.inbox.code(email))
        await keys.send()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your account is open")
        curl = await page.get_by_label("A first call by curl", exact=True).locator("code").text_content() or ""
        assert LIVE in curl
        if has_script:
            await keys.reach("button", "Copy A first call by curl")
            await keys.press("Enter")
            await expect(page.locator("#live")).to_have_text("Copied")
            assert curl == await page.evaluate("navigator.clipboard.readText()")
        answer = await run(curl)
        assert '"embedding"' in answer, answer
        assert mails == ["sign_in_code"]
        assert len(keys.pages) <= 3, keys.pages
    if has_script:
        await expect(page.locator("#live")).to_have_text("Your first call has arrived.")
        await take_pictures(window, "first-call")
    else:
        waiting = await page.get_by_role("link", name="See whether your first call").get_attribute("href")
        again = (await window.open(waiting or "")).get_by_role("link", name="Look again")
        while await again.count():
            async with page.expect_event("load"):
                await again.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your first call has arrived")
    await expect(page.get_by_text("worker", exact=True)).to_be_visible()
    await expect(page.get_by_text("answered")).to_be_visible()


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])
async def test_a_second_member_has_the_months_papers_corrects_an_address_and_sees_no_key(
    pages: RealPages, billed: Billed, *, has_script: bool
) -> None:
    email = f"fred-{has_script}@example.com".lower()
    role, by = Role.FINANCE, "Ann"
    await transact(pages.inbox.db, ACTOR, lambda work: invite(work, billed.account, email, role, invited_by=by))
    window = await pages.window(java_script_enabled=has_script)
    page = await window.open((await pages.inbox.invitation(email)).path)
    async with Keyboard(window, "an account's papers") as keys:
        await keys.type("E-mail address", email)
        await keys.send()
        await keys.type("Code", await pages.inbox.code(email))
        await keys.send()
        await keys.push("Join Billed")
        await keys.follow("Documents")
        await keys.follow(billed.invoice)
        assert (await keys.download("PDF")).startswith(b"%PDF")
        assert len(keys.pages) <= 6, keys.pages
        await keys.follow("Usage")
        assert b"gr_" not in await keys.download("CSV of the whole selection")
        for name in await page.get_by_role("navigation", name="Billed").get_by_role("link").all_inner_texts():
            await keys.follow(name)
            assert not KEY.search(await page.content()), name
        assert await page.get_by_role("link", name=re.compile("Keys|Calls")).count() == 0
        if has_script:
            return
        await keys.follow("Documents")
        await keys.follow(billed.invoice)
        await keys.follow("billing details")
        await keys.type("Street and number", "New Street 2")
        await keys.push("Save billing details")
        await window.open(f"/accounts/{page.url.split('/')[4]}/documents/{billed.invoice}")
        await keys.push(f"See what a correction of {billed.invoice} would do")
        await expect(page.get_by_role("cell", name="New Street 2")).to_be_visible()
        await take_pictures(window, "correction")
        await keys.push(f"Take {billed.invoice} back and issue it anew")
        await expect(page.get_by_role("status").first).to_contain_text("It is being taken back and issued anew")


async def test_finance_closes_a_month_and_has_its_papers(pages: RealPages) -> None:
    window, manual = await an_operator(pages, Role.FINANCE_ADMIN), Manual("finance.md")
    page = window.page
    async with Keyboard(window, "a month's papers") as keys:
        await keys.push("Make the passkey")
        await keys.follow("Finance")
        await manual.check(window, "finance-overview")
        await keys.follow("Month close")
        await keys.follow(MONTH)
        await manual.check(window, "finance-month")
        await keys.follow(f"Start to close {MONTH}")
        await keys.push("See what would change")
        await manual.check(window, "finance-start")
        await keys.push(f"Start to close {MONTH}")
        # What jobs do every 15 seconds.
        await advance(pages.inbox.db, datetime.now(UTC), 80.0)
        await keys.reach("link", "Look again")
        await keys.press("Enter")
        await expect(page.get_by_text("failed").first).to_be_visible()
        await manual.check(window, "finance-checklist")
        await keys.follow("Sign off: The invoices of providers are in, and settled")
        await keys.type("Reason", "The provider bills in January.")
        await manual.check(window, "finance-sign-off")
        await keys.push("See what would change")
        await keys.push(f"Sign an item off in {MONTH}")
        await keys.follow(f"Close {MONTH}")
        await keys.push("See what would change")
        await manual.check(window, "finance-close")
        await keys.push(f"Close {MONTH}")
        await advance(pages.inbox.db, datetime.now(UTC) + timedelta(minutes=1), 80.0)
        await keys.follow("Papers")
        await expect(page.get_by_text(f"They are as they were when {MONTH} was closed.")).to_be_visible()
        await manual.check(window, "finance-papers")
        assert not manual.unseen
        assert EXACT in await keys.download("Trial balance as CSV")
        assert len(keys.pages) <= 14, keys.pages
    assert not KEY.search(await page.content())


async def test_ops_adds_a_provider_tests_it_and_puts_it_live(pages: RealPages, upstream: Upstream) -> None:
    window, manual = await an_operator(pages, Role.OPS), Manual("ops.md")
    page = window.page
    async with Keyboard(window, "a provider") as keys:
        await manual.check(window, "ops-passkey")
        await keys.push("Make the passkey")
        await keys.follow("Operations")
        await manual.check(window, "ops-overview")
        await keys.follow("Providers")
        await keys.follow("Add a provider")
        await keys.type("Name", "alpha")
        await keys.type("Base URL", upstream.base_url)
        await manual.check(window, "ops-new-provider")
        await keys.push("See what would change")
        await manual.check(window, "ops-confirmation")
        await keys.push("Register alpha")
        await manual.check(window, "ops-provider")
        await keys.follow("Set the credential")
        await keys.type("Credential", "sk-canary-0b1f7d3c9a5e")
        await keys.send()
        await keys.follow("Test alpha")
        await keys.type("Its name of a model", LIVE)
        await keys.send()
        await expect(page.get_by_role("status").first).to_contain_text("passed")
        await manual.check(window, "ops-tested")
        await keys.follow("Back")
        await keys.follow(re.compile("^Register"))
        await keys.type("Model", LIVE)
        await keys.type("Our cost", "0.002")
        await keys.push("See what would change")
        await keys.push(re.compile("^Register"))
        await manual.check(window, "ops-draft")
        await keys.follow("Test it")
        await keys.type("Why its vectors may be the space's reference", "The maker's own service.")
        await keys.send()
        await manual.check(window, "ops-checked")
        await keys.push(f"Put {LIVE} at alpha live")
        await expect(page.get_by_text("live", exact=True).first).to_be_visible()
        await manual.check(window, "ops-live")
        assert len(keys.pages) <= 17, keys.pages
        await window.open(f"/ops/models/{LIVE}")
        await keys.follow("Add a text to About")
        await keys.type("Text", "A *small* model for **short** texts.")
        await keys.type("Who says so", "Its maker")
        await keys.push("See what would change")
        await manual.check(window, "ops-model-text")
        assert not manual.unseen
