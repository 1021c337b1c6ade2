"""Debian's Chromium, driven by Playwright: one per process, and a window that fails its test for what goes wrong in it.

A console message, a failed request, an error of a script and a report of the Content-Security-Policy each fail the test
in which they happen. Without a browser the tests are skipped with one sentence, in CI that is a failure.
"""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    Response,
    async_playwright,
    expect,
)

from gigarouter.listeners import Listener
from gigarouter.ports import LOOPBACK, Port
from gigarouter.settings import Settings
from tests.harness.pages import READER, Pages, served_pages
from tests.harness.processes import free_port
from web.viewer import NOBODY, Viewer

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "There is no Chromium: `make browser` installs it, or says how."
ARGUMENTS = ("--disable-background-networking", "--disable-component-update", "--no-first-run", "--no-sandbox")
NARROW_PX = 320
WIDE = {"width": 1280, "height": 900}
# A machine that runs four processes of tests on two cores keeps a page waiting for longer than Playwright's 5 s.
expect.set_options(timeout=30_000)
ONLY_VIOLATIONS = {"resultTypes": ["violations"]}


def find_chromium() -> str | None:
    """Where a Chromium is; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    path = find_chromium()
    if path is None:
        # `CI` by itself makes Hypothesis draw the same examples each time.
        if os.environ.get("CI") or os.environ.get("BROWSER_TESTS") == "required":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Served(Protocol):
    """Whatever serves pages at an address."""

    url: str


class Site:
    """The pages of a process on a port of loopback, in the tests' own loop."""

    def __init__(self, pages: Pages, url: str) -> None:
        self.pages = pages
        self.url = url


@asynccontextmanager
async def a_site(settings: Settings) -> AsyncIterator[Site]:
    """The pages, on a free port."""
    number = free_port()
    port = Port(LOOPBACK, number, "GIGAROUTER_WEB_PORT")
    settings = settings.model_copy(update={"web_port": number})
    async with served_pages(settings) as pages:
        listener = Listener(pages.app, port, settings, drain_s=1)
        await listener.open()
        try:
            yield Site(pages, f"http://{LOOPBACK}:{number}")
        finally:
            listener.end()
            await listener.shutdown(port.sockets)


class Window:
    """A browser's window in which somebody reads. ``faults`` is all that went wrong in it."""

    def __init__(self, site: Served, context: BrowserContext, page: Page) -> None:
        self.site = site
        self.context = context
        self.page = page
        self.faults: list[str] = []
        # Statuses of errors that a test wants.
        self.expected: set[int] = set()
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)
        page.on("requestfailed", self._on_failed)
        page.on("response", self._on_response)

    async def open(self, path: str) -> Page:
        """Go to an address and wait until all of the page is there."""
        await self.page.goto(path, wait_until="load")
        return self.page

    async def close(self) -> None:
        """End, and fail for what went wrong."""
        await self.context.close()
        assert not self.faults, "\n".join(self.faults)

    async def check_accessible(self) -> None:
        """Fail for what axe finds on the page as it is."""
        found = await Axe().run(self.page, options=ONLY_VIOLATIONS)
        seen = [
            f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
            for one in found.response["violations"]
        ]
        assert not seen, f"{self.page.url}\n" + "\n".join(seen)

    async def check_contrast(self) -> None:
        """Fail for text that other colours than those of :meth:`check_accessible`, run before, make hard to read."""
        seen = await self.page.evaluate(_FAINT)
        assert not seen, f"{self.page.url}: {seen}"

    async def check_fits(self, *, has_large_text: bool = False) -> None:
        """Fail where a page of 320 px has to be scrolled sideways, or one of 640 px whose text is twice as large."""
        if has_large_text:
            await self.page.evaluate("document.documentElement.style.fontSize = '200%'")
            await self._check_width(2 * NARROW_PX)
            await self.page.evaluate("document.documentElement.style.fontSize = ''")
        await self._check_width(NARROW_PX)

    async def _check_width(self, wide_px: int) -> None:
        before = self.page.viewport_size
        await self.page.set_viewport_size({"width": wide_px, "height": 800})
        width = await self.page.evaluate("document.documentElement.scrollWidth")
        widest = "" if width <= wide_px else await self.page.evaluate(_WIDEST, wide_px)
        assert width <= wide_px, f"{self.page.url} is {width} px wide, not {wide_px}: {widest}"
        if before is not None:
            await self.page.set_viewport_size(before)

    async def check_still(self) -> None:
        """Fail where something on the page moved while it came."""
        moved = await self.page.evaluate(_MOVED)
        assert moved == 0, f"{self.page.url} moved by {moved}"

    async def picture(self, folder: Path, name: str) -> None:
        """Keep a picture of the whole page."""
        await self.page.screenshot(path=folder / f"{name}.png", full_page=True, animations="disabled")

    def _on_error(self, fault: Error) -> None:
        # A busy browser leaves out the movement from one page to the next and reports that; no script asked for it.
        if "Transition was skipped" not in str(fault):
            self.faults.append(f"error of a script: {fault}")

    def _on_console(self, message: ConsoleMessage) -> None:
        # An error's status is said in the console, too.
        if not (self.expected and message.text.startswith("Failed to load resource")):
            self.faults.append(f"console: {message.text}")

    def _on_failed(self, request: Request) -> None:
        # What the reader left, or a newer request of the same page replaced.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"failed: {request.method} {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.faults.append(f"{response.status}: {response.url}")
        if not response.url.startswith(self.site.url):
            self.faults.append(f"another host: {response.url}")


async def a_window(browser: Browser, site: Site, viewer: Viewer = NOBODY, **options: Any) -> Window:
    """A new window of a reader; ``options`` are those of Playwright's contexts, such as ``color_scheme``."""
    context = await browser.new_context(base_url=site.url, viewport=WIDE, **options)  # type: ignore[arg-type]
    if viewer.is_known:
        name = f"reader-{len(site.pages.readers.known)}"
        site.pages.readers.known[name] = viewer
        await context.add_cookies([{"name": READER, "value": name, "url": site.url}])
    return Window(site, context, await context.new_page())


_WIDEST = """(wide) => [...document.querySelectorAll("body *")]
  .filter((one) => one.getBoundingClientRect().right > wide + 1 && !one.closest(".scroll"))
  .slice(0, 5).map((one) => one.outerHTML.slice(0, 120)).join("\\n")"""

_FAINT = """async () => (await axe.run(document, { runOnly: ["color-contrast"], resultTypes: ["violations"] }))
  .violations.flatMap((one) => one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)))"""

_MOVED = """() => new Promise((done) => {
  let sum = 0;
  new PerformanceObserver((list) => { for (const one of list.getEntries()) sum += one.value; })
    .observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
})"""


NewWindow: TypeAlias = Callable[..., Awaitable[Window]]
