"""Pictures of pages for people to look at: ``make pictures`` sets the folder, else none is taken.

Each page in each of its states, light and dark, 320 and 1280 px wide, with an index of all.
"""

import os
from html import escape
from pathlib import Path

from tests.harness.browser import Window

FOLDER = os.environ.get("GIGAROUTER_TEST_PICTURES", "")
WIDTHS = (320, 1280)
SCHEMES = ("light", "dark")


async def take_pictures(window: Window, name: str) -> None:
    """Take the page that a window shows, under a name such as ``models-empty``."""
    if not FOLDER:
        return
    before = window.page.viewport_size
    for scheme in SCHEMES:
        await window.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two literals
        for width in WIDTHS:
            await window.page.set_viewport_size({"width": width, "height": 900})
            await window.picture(Path(FOLDER), f"{name}-{scheme}-{width}")
    if before is not None:
        await window.page.set_viewport_size(before)
    write_index(Path(FOLDER))


def write_index(folder: Path) -> None:
    """A page with all pictures, one row per page and state."""
    names = sorted({file.name.rsplit("-", 2)[0] for file in folder.glob("*.png")})
    rows = [f"<h2>{escape(name)}</h2>\n<div>{''.join(_images(name))}</div>" for name in names]
    style = "div{display:flex;gap:1em;align-items:start;overflow:auto}img{border:1px solid;max-height:80vh}"
    page = f"<!doctype html><meta charset=utf-8><title>Pictures</title><style>{style}</style>\n" + "\n".join(rows)
    (folder / "index.html").write_text(page)


def _images(name: str) -> list[str]:
    files = [f"{name}-{scheme}-{width}.png" for width in WIDTHS for scheme in SCHEMES]
    return [f'<a href="{file}"><img src="{file}" alt="{file}" loading=lazy></a>' for file in files]
