"""Renders a page's struct with its template: Jinja2, undefined names are errors, and every text is escaped.

Texts come from outside: control and bidirectional characters in them are shown as signs and change nothing else.
"""

import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from router.catalogue.values import CatalogueRow
from web.answers import Page
from web.markdown import render_markdown
from web.parts import chart, money, numbers, times
from web.parts.hidden import visible
from web.shell import Shell

FOLDER = Path(__file__).parent
ROW = "public/parts/model_row.html"


_CODE = re.compile("`([^`]+)`")


@lru_cache(maxsize=2000)
def _markdown(text: str) -> Markup:
    """Markdown as HTML; hidden characters are shown before, since what is rendered is markup already."""
    return render_markdown(str(visible(text)))


def coded(text: str) -> Markup:
    """A sentence of ours in which what stands between backticks is code, as programs are told it."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(visible(text)))))  # noqa: S704 - it is escaped before


FILTERS: dict[str, Callable[..., Any]] = {
    "count": numbers.count,
    "short": numbers.short,
    "percent": numbers.percent,
    "bytes": numbers.byte_size,
    "usd": money.short,
    "usd_exact": money.exact,
    "day": times.day,
    "moment": times.moment,
    "second": times.second,
    "iso": times.iso,
    "drawn": chart.draw,
    "markdown": _markdown,
    "coded": coded,
}


def environment(*, reloads: bool = False) -> Environment:
    """The templates of all pages; with ``reloads`` a changed file is seen at once."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=reloads,
        cache_size=1000,
    )
    made.filters.update(FILTERS)
    made.filters["model_rows"] = RowCache(made)
    return made


class RowCache:
    """Renders rows by their template, once for each value of one. As many rows are kept as there are models."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._rows: dict[str, tuple[CatalogueRow, Markup]] = {}

    def __call__(self, rows: Iterable[CatalogueRow], ticked: Collection[str] = ()) -> Markup:
        """The rows as HTML, one a line; a template that joined them would look at each for what is to be escaped."""
        lines = [self._render(row, is_ticked=True) if row.id in ticked else self._known(row) for row in rows]
        return Markup("\n".join(lines))  # noqa: S704 - of rows that are markup

    def _known(self, row: CatalogueRow) -> Markup:
        """A row whose box is not ticked; a ticked one is rendered for its reader alone."""
        known = self._rows.get(row.id)
        if known is None or (known[0] is not row and known[0] != row):
            known = self._rows[row.id] = row, self._render(row, is_ticked=False)
        return known[1]

    def _render(self, row: CatalogueRow, *, is_ticked: bool) -> Markup:
        text = self._environment.get_template(ROW).render(row=row, is_ticked=is_ticked)
        return Markup(text)  # noqa: S704 - a template has escaped what it was given


class Renderer:
    """Makes the bytes of pages."""

    def __init__(self, *, reloads: bool = False) -> None:
        self._environment = environment(reloads=reloads)

    def render(self, page: Page, shell: Shell) -> bytes:
        """The HTML of a page."""
        return self._environment.get_template(page.template).render(page=page, shell=shell).encode()
