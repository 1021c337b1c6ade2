"""Keys in Chromium: made by keyboard alone and without a script, seen once, accessible in all states."""

import re

import pytest
from playwright.async_api import Error, expect

from router.identity.members import Role
from store.ids import AccountId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.browser import NewWindow, Site
from tests.harness.pages import a_member
from tests.harness.pictures import take_pictures

pytestmark = pytest.mark.anyio
SECRET = re.compile(r"gr_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}")
SOME = """
INSERT INTO keys (id, account_id, name, handle, last4, digest, use, requests_per_minute, tokens_per_minute, concurrency,
    paused, cap_nano, cap_period, expires_at, created_at, networks)
SELECT gen_random_uuid(), $1, CASE i WHEN 1 THEN repeat('W', 80) WHEN 2 THEN '検索用のキー' ELSE 'key ' || i END,
    lpad(i::text, 8, 'x'), 'wxyz', sha256(i::text::bytea), 'commercial', 1, 1, 1, i = 3,
    CASE WHEN i = 4 THEN 123456789012345 END, CASE WHEN i = 4 THEN 'month' END,
    CASE WHEN i = 5 THEN now() + interval '3 days' END, now() - interval '40 days',
    CASE WHEN i = 4 THEN '{203.0.113.0/28,2001:db8:7::/48}' ELSE '{}' END::cidr[]
FROM generate_series(1, 6) AS i
"""


@pytest.fixture(scope="module")
def base(build: DatabaseBuilder, account: AccountId) -> str:
    build.rows(SOME, account)
    build.rows("INSERT INTO key_policies (account_id, max_days) VALUES ($1, 90)", account)
    return f"/accounts/{wire(AccountId, account)}"


async def test_pages_of_keys_are_accessible_and_fit_a_narrow_screen(
    open_window: NewWindow, site: Site, account: AccountId, base: str
) -> None:
    window = await open_window(a_member(account, Role.OWNER, now=site.pages.now))
    page = await window.open(f"{base}/keys")
    one = await page.get_by_role("link", name="key 4").get_attribute("href")
    assert one is not None
    pages = {"keys": f"{base}/keys", "key": one, "key-new": f"{base}/keys/new", "key-revoke": f"{one}/revoke"}
    pages |= {"management-keys": f"{base}/management-keys", "account-audit": f"{base}/audit"}
    pages["key-policy"] = f"{base}/key-policy"
    pages |= {"license": f"{base}/licenses/LicenseRef-Gemma", "licenses": f"{base}/licenses", "device": "/device"}
    for name, path in pages.items():
        await window.open(path)
        await window.check_still()
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, name)


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])
async def test_a_key_is_made_rotated_and_seen_once(
    open_window: NewWindow, site: Site, account: AccountId, base: str, has_script: bool
) -> None:
    viewer = a_member(account, Role.DEVELOPER, now=site.pages.now)
    window = await open_window(viewer, java_script_enabled=has_script)
    page = await window.open(f"{base}/keys")
    await page.get_by_role("link", name="New key").click()
    name = f"made {'with' if has_script else 'without'} script"
    await page.get_by_role("textbox", name="Name").focus()
    await page.keyboard.type(name)
    await page.get_by_role("textbox", name="Per month").focus()
    await page.keyboard.type("20")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Your key {name}")
    shown = await page.get_by_role("figure", name="Key", exact=True).inner_text()
    [secret] = set(SECRET.findall(shown))
    if has_script:
        await window.check_accessible()
        await take_pictures(window, "key-secret")
    await page.get_by_role("link", name="I have kept it").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Key {name}")
    assert secret not in await page.content()
    await page.get_by_role("button", name=f"Rotate key {name}").click()
    await expect(page.get_by_text("The secret that it replaces works for")).to_be_visible()
    await page.get_by_role("link", name="I have kept it").click()
    await expect(page.get_by_text("A secret of before works for")).to_be_visible()
    if has_script:
        # It was the answer of a form alone, and no browser keeps it.
        with pytest.raises(Error, match="ERR_CACHE_MISS"):
            await page.go_back()
        assert all("ERR_CACHE_MISS" in fault for fault in window.faults)
        window.faults.clear()
        return
    await page.get_by_role("link", name=f"Revoke key {name}…").click()
    await page.get_by_role("button", name=f"Revoke key {name}", exact=True).click()
    await expect(page.get_by_text("The key is revoked.")).to_be_visible()
    row = page.get_by_role("row").filter(has_text=name)
    await expect(row).to_contain_text("revoked")
