"""Keeps the HTML of the catalogue's rows until a row is another: readers are many, and models change seldom."""

from jinja2 import Environment
from markupsafe import Markup

from router.catalogue.values import CatalogueRow

TEMPLATE = "public/parts/model_row.html"


class RowCache:
    """Renders a row by its template, once for each value of it. As many rows are kept as there are models."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._rows: dict[str, tuple[CatalogueRow, Markup]] = {}

    def __call__(self, row: CatalogueRow, is_ticked: bool = False) -> Markup:
        """The row as HTML. A row whose box is ticked is rendered for this reader alone."""
        if is_ticked:
            return self._render(row, is_ticked=True)
        known = self._rows.get(row.id)
        if known is None or (known[0] is not row and known[0] != row):
            known = self._rows[row.id] = row, self._render(row, is_ticked=False)
        return known[1]

    def _render(self, row: CatalogueRow, *, is_ticked: bool) -> Markup:
        text = self._environment.get_template(TEMPLATE).render(row=row, is_ticked=is_ticked)
        return Markup(text)  # noqa: S704 - a template has escaped what it was given
