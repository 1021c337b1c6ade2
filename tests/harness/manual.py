"""Holds an article with pictures to the pages that it describes, and takes its pictures anew (``make manual``).

Before each picture the article says what is on the page, the words of headings, fields, links and buttons in bold. A
story that comes to that page checks them; it takes the picture where GIGAROUTER_TEST_MANUAL is set.
"""

import base64
import os
import re
from pathlib import Path

from playwright.async_api import Page

from tests.harness.browser import WIDE, Window
from web.markdown import PICTURE_HEIGHT, PICTURE_WIDTH

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pages"
IS_TAKEN = bool(os.environ.get("GIGAROUTER_TEST_MANUAL"))
PICTURE = re.compile(r"!\[[^\]]+\]\(pictures/([a-z-]+)\.webp\)")
BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
# A picture of a page that is full of words is taken again, with less of their edges, until it is light enough.
QUALITIES, BYTES_MAX = (55, 40, 25, 15), 40_000


class Manual:
    """An article of ``docs/pages``, such as ``ops.md``; ``unseen`` are the pictures whose pages were not shown yet."""

    def __init__(self, file: str) -> None:
        pieces = PICTURE.split((FOLDER / file).read_text())
        # Text, picture, text, picture, and what follows the last one.
        self.words = {
            picture: [" ".join(words.split()) for words in BOLD.findall(text)]
            for text, picture in zip(pieces[::2], pieces[1::2], strict=False)
        }
        self.unseen = list(self.words)
        # The words of the page before: what leads to a page may stand there.
        self._before: frozenset[str] = frozenset()

    async def check(self, window: Window, picture: str) -> None:
        """Fail where the page lacks what the article says of it, or comes in another order."""
        assert self.unseen, f"{picture} is in no article"
        assert self.unseen.pop(0) == picture
        there = await shown(window.page)
        lacks = [words for words in self.words[picture] if words not in there | self._before]
        assert not lacks, f"{window.page.url} has no {lacks}, only {sorted(there)}"
        self._before = there
        if IS_TAKEN:
            write(picture, await take(window.page))


async def shown(page: Page) -> frozenset[str]:
    """The words of a page's headings, captions, fields, links and buttons."""
    texts = await page.evaluate(_TEXTS)
    return frozenset(" ".join(text.split()) for text in texts)


def write(picture: str, content: bytes) -> None:
    """Keep a picture beside the articles."""
    (FOLDER / "pictures" / f"{picture}.webp").write_bytes(content)


async def take(page: Page) -> bytes:
    """A picture of what a window shows, in the size of all pictures."""
    await page.set_viewport_size({"width": PICTURE_WIDTH, "height": PICTURE_HEIGHT})
    session = await page.context.new_cdp_session(page)
    picture = b""
    for quality in QUALITIES:
        made = await session.send("Page.captureScreenshot", {"format": "webp", "quality": quality})
        picture = base64.b64decode(made["data"])
        if len(picture) <= BYTES_MAX:
            break
    await page.set_viewport_size(WIDE)  # type: ignore[arg-type]  # a literal of Playwright's
    return picture


_TEXTS = """() => [...document.querySelectorAll("a, button, h1, h2, h3, label, caption, summary, dt, th")]
  .map((one) => [...one.childNodes].filter((part) => !part.matches?.(".muted")))
  .map((parts) => parts.map((part) => part.textContent).join(""))"""
