"""What a page says, as text with roles: headings, terms with their values, rows with their cells, links, buttons.

Two pages with the same text here say the same to whoever reads or hears them, whatever their classes.
"""

import re
from html.parser import HTMLParser

from typing_extensions import override

_LINES = {
    "h1": "# ",
    "h2": "## ",
    "h3": "### ",
    "p": "",
    "li": "- ",
    "dt": "* ",
    "summary": "> ",
    "legend": "",
    "pre": "| ",
}
_ENDS = {"tr", "table", "caption", "dl", "div", "ul", "ol", "section", "form", "details", "figure", "nav", "header"}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)? UTC")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._line = ""
        self._is_main = False
        self._skips = 0

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._is_main = self._is_main or tag == "main"
        if tag in ("script", "style", "datalist"):
            self._skips += 1
        if tag in _LINES or tag in _ENDS:
            self._end()
        if tag in _LINES:
            self._line = _LINES[tag]
        elif tag == "dd":
            self._line += ": "
        elif tag in ("td", "th"):
            self._line += " | " if self._line else ""
        elif tag == "br":
            self._line += " "
        elif tag in ("button",):
            self._end()
            self._line = "[button] "
        elif tag == "a" and given.get("class") == "button":
            self._line += "[link] "
        elif tag in ("input", "textarea", "select") and given.get("type") != "hidden":
            name = given.get("aria-label") or given.get("name") or ""
            ticked = " ticked" if "checked" in given else ""
            self._line += f"[{given.get('type') or tag} {name}={given.get('value') or ''}{ticked}] "

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "datalist"):
            self._skips -= 1
        if tag in _LINES and tag not in ("dt", "legend"):
            self._end()
        if tag in _ENDS or tag == "dd" or tag == "button":
            self._end()
        if tag == "main":
            self._is_main = False

    @override
    def handle_data(self, data: str) -> None:
        if self._is_main and not self._skips:
            self._line += data.replace("\n", " ⏎ ") if self._line.startswith("| ") else data

    def _end(self) -> None:
        line = re.sub(r"\s+", " ", self._line).strip()
        if self._is_main and line.strip("|#*->: "):
            self.lines.append(_MOMENT.sub("<moment>", line))
        self._line = ""


def page_text(html: str) -> str:
    """The text of a page's main part, a line for each heading, term, row, item and paragraph."""
    reader = _Reader()
    reader.feed(html)
    return "\n".join(reader.lines) + "\n"
