"""The shell in Chromium: accessible in both themes and at 320 px, quick with its script, whole without it."""

import re

import pytest
from playwright.async_api import Request, expect

from store.ids import AccountId, wire
from tests.harness.browser import NewWindow, Site
from tests.harness.pages import an_operator
from tests.harness.pictures import take_pictures

pytestmark = pytest.mark.anyio

PUBLIC = {
    "models": "/models?q=f2llm",
    "models-empty": "/models?q=nothing-has-that-name",
    "parts": "/-/parts",
    "search": "/search?q=tokens",
    "pricing": "/pricing",
    "docs": "/docs",
    "docs-found": "/docs?q=retry",
    "docs-article": "/docs/billed-tokens",
    "docs-errors": "/docs/errors",
    "docs-operation": "/docs/api/list_models",
}


async def test_pages_are_accessible_and_fit_a_narrow_screen(open_window: NewWindow) -> None:
    window = await open_window(an_operator())
    for name, path in PUBLIC.items():
        await window.open(path)
        await window.check_still()
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, name)


async def test_a_list_follows_what_is_typed_and_keeps_the_caret(open_window: NewWindow) -> None:
    page = await (await open_window()).open("/models")
    search = page.get_by_role("searchbox", name="Search")
    await search.press_sequentially("f2llm")
    await expect(page).to_have_url(re.compile("q=f2llm"))
    await expect(search).to_be_focused()
    await search.press_sequentially("-v2-4b")
    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(search).to_have_value("f2llm-v2-4b")
    await page.get_by_role("link", name="Dimensions").click()
    await expect(page.get_by_role("columnheader", name="Dimensions")).to_have_attribute("aria-sort", "ascending")
    await page.go_back()
    await expect(page.get_by_role("columnheader", name="Dimensions")).not_to_have_attribute("aria-sort", "ascending")


async def test_the_palette_is_the_search_page_by_keyboard_and_the_page_without_script(open_window: NewWindow) -> None:
    window = await open_window()
    page = await window.open("/pricing")
    await page.keyboard.press("Control+k")
    dialog = page.get_by_role("dialog", name="Search")
    await expect(dialog).to_be_visible()
    await page.keyboard.type("billed tokens")
    await expect(dialog.get_by_role("link").first).to_contain_text("Billed tokens")
    await window.check_accessible()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await page.keyboard.press("Control+k")
    await expect(dialog).to_be_visible()
    await page.keyboard.type("billed tokens")
    await expect(dialog.get_by_role("link").first).to_contain_text("Billed tokens")
    await page.keyboard.press("ArrowDown")
    await expect(dialog.get_by_role("link").first).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/docs/billed-tokens"))
    plain = await (await open_window(java_script_enabled=False)).open("/pricing")
    await plain.get_by_role("link", name="Search").click()
    await plain.get_by_role("searchbox", name="Words").fill("f2llm-v2-4b")
    await plain.keyboard.press("Enter")
    await expect(plain.get_by_role("link", name="codefuse-ai/F2LLM-v2-4B")).to_be_visible()


async def test_a_chart_tells_its_numbers_under_the_pointer(open_window: NewWindow) -> None:
    page = await (await open_window()).open("/-/parts")
    chart = page.get_by_role("img", name="Spend by key; the table has the numbers")
    await chart.hover()
    # What reads a chart is loaded when a pointer first comes to one.
    numbers = page.locator("figure.chart output").first
    await expect(numbers).to_be_attached()
    await chart.hover(position={"x": 300, "y": 60})
    await expect(numbers).to_contain_text("ingest-prod")


async def test_without_script_the_same_form_gives_the_same_rows(open_window: NewWindow) -> None:
    page = await (await open_window(java_script_enabled=False)).open("/models")
    await page.get_by_role("searchbox", name="Search").fill("f2llm-v2-4b")
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_role("row")).to_have_count(2)


async def test_single_letters_lead_somewhere_until_they_are_turned_off(open_window: NewWindow) -> None:
    window = await open_window()
    page = await window.open("/pricing")
    await page.keyboard.press("g")
    await page.keyboard.press("m")
    await expect(page).to_have_url(re.compile("/models$"))
    # Whoever types, types.
    search = page.get_by_role("searchbox", name="Search")
    await search.press_sequentially("gd/?")
    await expect(search).to_have_value("gd/?")
    await expect(page).to_have_url(re.compile("/models"))
    await page.goto("/pricing")
    await page.keyboard.press("/")
    dialog = page.get_by_role("dialog", name="Search")
    await expect(dialog).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await page.keyboard.press("?")
    await expect(page).to_have_url(re.compile("/shortcuts$"))
    await window.check_accessible()
    await window.check_fits()
    await take_pictures(window, "shortcuts")
    await page.get_by_role("button", name="Turn off shortcuts of one letter").click()
    await expect(page.get_by_role("button", name="Turn on shortcuts of one letter")).to_be_visible()
    await page.wait_for_load_state()
    for key in ("g", "m", "/"):
        await page.keyboard.press(key)
    # What is pressed later finds everything as it was: nothing led away, nothing opened.
    await page.keyboard.press("Control+k")
    await expect(page.get_by_role("dialog", name="Search")).to_be_visible()
    await expect(page).to_have_url(re.compile("/shortcuts$"))
    await expect(page.get_by_role("searchbox", name="Search pages, models and documentation")).to_have_value("")


async def test_the_theme_stays_without_a_flash(open_window: NewWindow) -> None:
    page = await (await open_window(color_scheme="light")).open("/models")
    await page.get_by_role("button", name="Dark colours").click()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await expect(page).to_have_url(re.compile("/models$"))
    await page.get_by_role("button", name="Light colours").click()
    await expect(page.locator("html")).to_have_attribute("data-theme", "light")


async def test_a_write_by_keyboard_alone_shows_first_what_it_would_change(
    open_window: NewWindow, site: Site, account: AccountId
) -> None:
    operator = await open_window(an_operator(now=site.pages.now))
    page = await operator.open(f"/ops/accounts/{wire(AccountId, account)}/name")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.get_by_role("textbox", name="Name").focus()
    await page.keyboard.press("ControlOrMeta+A")
    await page.keyboard.type("Acme <b>& Sons</b>")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Rename Acme")
    await operator.check_accessible()
    await take_pictures(operator, "confirmation")
    await expect(page.get_by_role("cell", name="Acme <b>& Sons</b>")).to_be_visible()
    await page.get_by_role("button", name="Rename Acme").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".notice")).to_have_text("Acme <b>& Sons</b> has its new name.")
    await operator.check_accessible()
    await operator.check_fits()
    await take_pictures(operator, "form")


async def test_a_page_is_light(open_window: NewWindow) -> None:
    window = await open_window()
    requests: list[Request] = []
    window.page.on("requestfinished", lambda request: requests.append(request))  # noqa: PLW0108 - a builtin cannot be marked, as Playwright does
    await window.open("/models")
    assert len(requests) <= 4
    assert sum([(await one.sizes())["responseBodySize"] for one in requests]) <= 60_000
