"""Walks every page of the table of routes in Chromium: accessible, light and dark, narrow, with text twice as large.

The things that the pages are about are there. None sends more than six statements to Postgres. axe looks at each
template once, in light and dark; what pages of one template differ in (fields, ids, links, headings) is looked at on
every one.
"""

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest
from lxml.html import fromstring
from playwright.async_api import expect
from pydantic import SecretStr

from gigarouter.settings import Settings
from store.embedded import Embedded
from store.ids import AccountId
from tests.builders.database import DatabaseBuilder
from tests.harness.browser import NewWindow, Site, Window
from tests.harness.one_of_each import address_of, an_account_with_everything, make_by_pages, path_values, reader_of
from tests.harness.pages import READER, served_pages
from tests.harness.pictures import take_pictures
from web.answers import Page as AnyPage
from web.render import Renderer
from web.route import Who
from web.routes import ROUTES
from web.shell import Shell

pytestmark = pytest.mark.anyio

# A person's own pages want a session: test_sign_in_in_a_browser.py and test_three_stories.py walk them.
SHOWN = [route for route in ROUTES if route.show and route.who is not Who.PERSON]
FILES = re.compile(r"\.(csv|json|md|atom|txt|xml)$|/files/|/pictures/|/papers/\{|\{format\}")
STATEMENTS_MAX = 6
# Signing in leads elsewhere whoever is signed in, or wants what a mail has; the first page leads to the list.
ELSEWHERE = ("/sign-in/", "/unsubscribe/")


@pytest.fixture(scope="module")
def account(build: DatabaseBuilder, servers: Embedded) -> AccountId:
    return an_account_with_everything(build, servers)


@pytest.fixture(scope="module")
async def values(build: DatabaseBuilder, account: AccountId, secret_key: str) -> dict[str, str]:
    settings = Settings(database_url=SecretStr(build.url), secret_keys=[SecretStr(secret_key)])
    async with served_pages(settings) as pages:
        await make_by_pages(pages, account)
    return await asyncio.to_thread(path_values, build, account)


@pytest.fixture
def templates(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The template of each page that was rendered, the newest last."""
    rendered, render = list[str](), Renderer.render

    def note(self: Renderer, page: AnyPage, shell: Shell) -> bytes:
        rendered.append(page.template)
        return render(self, page, shell)

    monkeypatch.setattr(Renderer, "render", note)
    return rendered


async def test_every_page_is_accessible_and_fits(
    open_window: NewWindow, site: Site, account: AccountId, values: dict[str, str], templates: list[str]
) -> None:
    window = await open_window()
    seen, faults = set[str](), list[str]()
    await window.page.context.add_cookies([{"name": READER, "value": "walker", "url": site.url}])
    window.expected.add(404)
    async with httpx.AsyncClient(base_url=site.url, cookies={READER: "walker"}) as client:
        for route in SHOWN:
            if FILES.search(route.path) or route.path.startswith(ELSEWHERE):
                continue
            site.pages.readers.known["walker"] = reader_of(route, account, site.pages.now)
            address = address_of(route, values)
            with site.pages.counted() as statements:
                answer = await client.get(address, follow_redirects=True)
            if len(sent := site.pages.without_begin(statements)) > STATEMENTS_MAX:
                faults.append(f"{address}: {len(sent)} statements")
            faults += [f"{address}: {fault}" for fault in differing_faults(answer.text)]
            template = templates[-1]
            if template not in seen:
                seen.add(template)
                await window.open(address)
                faults += await faults_of(window)
                await take_pictures(window, f"page-{template.removesuffix('.html').replace('/', '-')}")
    assert not faults, "\n".join(faults)
    assert len(seen) > 50, sorted(seen)


async def faults_of(window: Window) -> list[str]:
    """What is wrong with the page as it is."""
    try:
        await window.check_fits(has_large_text=True)
        await window.check_accessible()
        await window.page.emulate_media(color_scheme="dark")
        await window.check_contrast()
        await window.page.emulate_media(color_scheme="light")
    except AssertionError as fault:
        return [str(fault)]
    return []


def differing_faults(html: str) -> Iterator[str]:
    """What axe would find on pages of one template: fields without words, ids twice, buttons that say nothing."""
    page = fromstring(html)
    ids = [one.get("id") for one in page.xpath("//*[@id]")]
    yield from (f"id {one} is there twice" for one in {one for one in ids if ids.count(one) > 1})
    labelled = {one.get("for") for one in page.xpath("//label[@for]")}
    for field in page.xpath("//input[not(@type='hidden')]|//select|//textarea"):
        if not (field.get("id") in labelled or field.get("aria-label") or field.xpath("ancestor::label")):
            yield f"{field.get('name')} has no label"
    for control in page.xpath("//a[@href]|//button"):
        if not (control.get("aria-label") or control.text_content().strip()):
            yield f"a {control.tag} says nothing"
    if len(page.xpath("//h1")) != 1 or not page.findtext(".//title"):
        yield "has no heading or no title"


async def test_paper_has_the_content_and_no_ways_to_elsewhere(
    open_window: NewWindow, site: Site, account: AccountId, values: dict[str, str]
) -> None:
    window = await open_window()
    await window.page.context.add_cookies([{"name": READER, "value": "walker", "url": site.url}])
    for path in (
        "/accounts/{account}/documents/{number}",
        "/accounts/{account}/usage",
        "/finance/close/{month}/papers",
    ):
        route = next(one for one in SHOWN if one.path == path)
        site.pages.readers.known["walker"] = reader_of(route, account, site.pages.now)
        page = await window.open(address_of(route, values))
        await page.emulate_media(media="print", color_scheme="dark")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        for hidden in ("banner", "contentinfo", "search", "button"):
            assert not [one for one in await page.get_by_role(hidden).all() if await one.is_visible()], (path, hidden)
        ink, paper = await page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert ink != paper
        assert max(map(int, re.findall(r"\d+", ink)[:3])) < 100, "ink is dark whatever the screen was"
        await page.emulate_media(media="screen", color_scheme="light")


async def test_nothing_moves_for_whoever_wants_no_motion(open_window: NewWindow) -> None:
    page = await (await open_window(reduced_motion="reduce")).open("/-/parts")
    moving = """() => [...document.querySelectorAll("*")].map((one) => getComputedStyle(one))
      .filter((style) => /[1-9]/.test(style.transitionDuration) || style.animationName !== "none").length"""
    assert await page.evaluate(moving) == 0
    rules = """() => [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules])
      .filter((rule) => rule.cssText.includes("@view-transition")).map((rule) => rule.cssText)"""
    assert all("prefers-reduced-motion: no-preference" in text for text in await page.evaluate(rules))
