"""Somebody with a keyboard and no mouse, counted: pages that came, keys that were pressed, seconds that went by.

Whatever is used is reached by Tab from where the focus is, in the order of the page, and must then be seen to have it:
inside the window, with an outline. A story says at its end what it took.
"""

import time
from types import TracebackType
from typing import Any, Self

from playwright.async_api import Locator, Page, Response, expect

from tests.harness.browser import Window

# How often the way to a control may be longer or shorter than the page's order of controls says.
TRIES_MAX = 12


class Keyboard:
    """``async with Keyboard(window, "customer") as keys``: the hands of one reader in one window."""

    def __init__(self, window: Window, name: str) -> None:
        self.window = window
        self.page: Page = window.page
        self.name = name
        self.pages: list[str] = []
        self.pressed = 0
        self._began = 0.0

    async def __aenter__(self) -> Self:
        self._began = time.monotonic()
        self.page.on("response", self._on_response)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.page.remove_listener("response", self._on_response)
        if fault is None:
            print(f"{self.name}: {self.took}")

    @property
    def took(self) -> str:
        """What it took so far, for people."""
        return f"{len(self.pages)} pages, {self.pressed} keys, {time.monotonic() - self._began:.1f} s"

    async def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            self.pressed += 1
            await self.page.keyboard.press(key)

    async def reach(self, role: Any, name: Any, *, exact: bool = True) -> Locator:
        """Press Tab until a control has the focus. Whoever begins at the top of a page takes the way past its head."""
        target = self.page.get_by_role(role, name=name, exact=exact).first
        await expect(target).to_be_attached()
        for _ in range(TRIES_MAX):
            state = await target.evaluate(_STATE)
            if state["has_focus"]:
                assert state["is_seen"], f"{self.page.url}: {name} has the focus, and nobody can see it: {state}"
                return target
            if state["may_skip"]:
                await self.press("Tab", "Enter")
            else:
                steps = state["steps"] or 1
                await self.press(*["Tab" if steps > 0 else "Shift+Tab"] * abs(steps))
        raise AssertionError(f"{self.page.url}: {name} is not reached by Tab")

    async def follow(self, name: Any, *, exact: bool = True) -> None:
        """Open the page that a link leads to."""
        await self._leave("link", name, exact=exact)

    async def push(self, name: Any, *, exact: bool = True) -> None:
        """Press a button that leads to another page."""
        await self._leave("button", name, exact=exact)

    async def type(self, name: str, text: str, *, role: str = "textbox") -> None:
        """Replace what stands in a field."""
        await self.reach(role, name, exact=False)
        await self.press("ControlOrMeta+A")
        await self.enter(text)

    async def enter(self, text: str) -> None:
        """Type where the focus is."""
        self.pressed += len(text)
        await self.page.keyboard.insert_text(text)

    async def choose(self, name: str, option: str) -> None:
        """Choose an option by the letters that it begins with."""
        field = await self.reach("combobox", name)
        self.pressed += len(option)
        await self.page.keyboard.type(option)
        chosen = await field.evaluate("(field) => field.selectedOptions[0].textContent.trim()")
        assert chosen.lower().startswith(option.lower()), chosen

    async def _leave(self, role: str, name: Any, *, exact: bool) -> None:
        await self.reach(role, name, exact=exact)
        await self.send()

    async def send(self) -> None:
        """Press Enter, which leads to another page."""
        async with self.page.expect_event("load"):
            await self.press("Enter")

    async def download(self, name: Any) -> bytes:
        """Take the file that a link has."""
        await self.reach("link", name)
        async with self.page.expect_download() as download:
            await self.press("Enter")
        return (await (await download.value).path()).read_bytes()

    def _on_response(self, response: Response) -> None:
        is_page = response.request.is_navigation_request() and response.frame == self.page.main_frame
        if is_page and not 300 <= response.status < 400 and "content-disposition" not in response.headers:
            self.pages.append(response.url)


# Whether the control has the focus and is seen to; how many controls lie between, and whether the head may be skipped.
_STATE = """(target) => {
  const at = document.activeElement;
  const box = target.getBoundingClientRect(), style = getComputedStyle(target);
  const isInside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter((one) => !one.disabled && one.type !== "hidden" && one.checkVisibility());
  const before = (one) => one.compareDocumentPosition(at) & Node.DOCUMENT_POSITION_PRECEDING;
  const isTop = at === document.body;
  const from = isTop ? -1 : all.includes(at) ? all.indexOf(at) : all.filter((one) => !before(one)).length - 1;
  return {
    has_focus: at === target,
    is_seen: isInside && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
    outline: style.outline, box: box.toJSON(),
    may_skip: isTop && !!target.closest("main"),
    steps: all.indexOf(target) - from,
  };
}"""
