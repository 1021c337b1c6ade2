"""The catalogue, a model's page and the comparison in Chromium: accessible, narrow, with and without script."""

import re

import pytest
from playwright.async_api import expect

from store.ids import AccountId
from tests.harness.browser import NewWindow
from tests.harness.pages import a_member
from tests.harness.pictures import take_pictures

pytestmark = pytest.mark.anyio

F2LLM = "codefuse-ai/F2LLM-v2-4B"
PATHS = {
    "catalogue": "/models?owner=codefuse-ai",
    "model": f"/models/{F2LLM}",
    "compare": f"/compare?m={F2LLM}&m=codefuse-ai/F2LLM-v2-8B",
}


async def test_the_pages_of_models_are_accessible_and_fit_a_narrow_screen(
    open_window: NewWindow, account: AccountId
) -> None:
    window = await open_window(a_member(account))
    for name, path in PATHS.items():
        await window.open(path)
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, name)


async def test_from_the_catalogue_to_a_comparison_without_script(open_window: NewWindow) -> None:
    page = await (await open_window(java_script_enabled=False)).open("/models?q=f2llm-v2")
    await page.get_by_role("checkbox", name="Compare F2LLM-v2-4B", exact=True).check()
    await page.get_by_role("checkbox", name="Compare F2LLM-v2-8B", exact=True).check()
    await page.get_by_role("button", name="Compare what is ticked").click()
    await expect(page.get_by_role("row", name=re.compile("Same vector space"))).to_contain_text("no.")
    await page.get_by_role("link", name=F2LLM, exact=True).click()
    await expect(page.get_by_role("heading", name="F2LLM-v2-4B", exact=True)).to_be_visible()
    await page.get_by_role("spinbutton", name="Tokens a month").fill("1000000000")
    await page.get_by_role("button", name="Reckon").click()
    await expect(page.get_by_text("1,000,000,000 tokens a month")).to_be_visible()


async def test_a_vote_is_cast_and_taken_back_by_keyboard(open_window: NewWindow, account: AccountId) -> None:
    page = await (await open_window(a_member(account))).open(f"/models/{F2LLM}")
    vote = page.get_by_role("button", name="Vote for F2LLM-v2-4B as Acme")
    await vote.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Your vote is counted.")).to_be_visible()
    back = page.get_by_role("button", name="Take back the vote of Acme")
    await back.focus()
    await page.keyboard.press("Enter")
    await expect(vote).to_be_visible()
