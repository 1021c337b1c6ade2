"""An operator sees an account as its owner does: with a reason that the owner reads, without a way to change it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from gigarouter.settings import Settings
from gigarouter.web_wiring import pages as run_pages
from router.identity.members import Role
from store.ids import AccountId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.plain_browser import PlainBrowser
from tests.harness.sites import Site

pytestmark = pytest.mark.anyio
PASSED = "UPDATE account_views SET started_at = started_at - interval '1 hour', expires_at = now()"
UNTOUCHED = text("SELECT (SELECT array_agg(k ORDER BY key_id) FROM key_uses k)::text, (SELECT count(*) FROM keys)")


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with run_pages(settings) as context:
        yield Site(context)


@pytest.fixture(scope="module")
def umbrella(build: DatabaseBuilder) -> str:
    account = build.an_account(7_000_000_000, "Umbrella")
    build.a_key(account)
    return wire(AccountId, account)


async def start(browser: PlainBrowser, account: str, reason: str = "Their question 4711.") -> None:
    await browser.get(f"/ops/accounts/{account}/see")
    await browser.press("See what would change", reason=reason)
    assert reason in browser.text
    await browser.press("See as its owner does: ")


async def test_an_operator_looks_changes_nothing_and_the_owner_reads_why(site: Site, umbrella: str) -> None:
    ops = await site.operator("looks@ops.example")
    base = f"/accounts/{umbrella}"
    assert (await ops.once("GET", f"{base}/keys")).status_code == 404
    await start(ops, umbrella)
    assert ops.path == f"{base}/usage", ops.text
    assert "You see Umbrella as its owner does." in ops.text
    async with site.context.people.writes.transaction() as tx:
        before = (await tx.execute(UNTOUCHED)).one()
    for page in ("keys", "keys/new", "usage", "usage.csv", "calls", "credit", "documents", "members", "audit"):
        await ops.get(f"{base}/{page}")
        assert ops.status == 200, (page, ops.text)
    await ops.get(f"{base}/keys/new")
    await ops.press("Make the key", name="mine")
    assert (ops.status, "nothing was done" in ops.text) == (403, True)
    async with site.context.people.writes.transaction() as tx:
        assert (await tx.execute(UNTOUCHED)).one() == before
    # Whoever is signed in with the same passkey elsewhere has started nothing there, and other roles may not.
    finance = await site.operator("money@ops.example", Role.FINANCE_ADMIN)
    assert (await finance.once("GET", f"{base}/keys")).status_code == 404
    assert (await finance.once("GET", f"/ops/accounts/{umbrella}/see")).status_code == 403
    await ops.get(f"{base}/audit")
    assert "Their question 4711." in ops.text
    assert "operator" in ops.text
    assert "looks@ops.example" not in ops.text.partition("<main")[2]
    await ops.press("Stop looking at Umbrella")
    assert ops.path == f"/ops/accounts/{umbrella}"
    assert "view.end" in ops.text
    assert "as its owner does.</strong>" not in ops.text
    assert (await ops.once("GET", f"{base}/keys")).status_code == 404


async def test_it_ends_with_its_time_with_the_session_and_with_the_next_one(
    site: Site, build: DatabaseBuilder, umbrella: str, account: AccountId
) -> None:
    ops = await site.operator("time@ops.example")
    await start(ops, umbrella)
    await start(ops, wire(AccountId, account))
    assert (await ops.once("GET", f"/accounts/{umbrella}/usage")).status_code == 404
    assert (await ops.once("GET", f"/accounts/{wire(AccountId, account)}/usage")).status_code == 200
    await start(ops, umbrella)
    await asyncio.to_thread(build.rows, PASSED)
    assert (await ops.once("GET", f"/accounts/{umbrella}/usage")).status_code == 404
    await ops.get("/ops/account-view")
    assert ops.path == "/ops/accounts"
    await start(ops, umbrella)
    again = site.browser()
    again.cookies |= ops.cookies
    await again.get(f"/accounts/{umbrella}/usage")
    assert again.status == 200
    await ops.post("/sign-out")
    await again.get(f"/accounts/{umbrella}/usage")
    assert again.path.startswith("/sign-in")
