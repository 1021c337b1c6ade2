"""Pure. Writes rows as CSV for a spreadsheet, in which no cell is taken for a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

# With these a spreadsheet takes a cell for a formula, also after blanks, which some of them cut off.
_FORMULA = re.compile(r"\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_AMOUNT = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def csv_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A header and rows as RFC 4180 has them."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(header)
    writer.writerows([harmless(value) for value in row] for row in rows)
    return sink.getvalue()


def harmless(value: object) -> object:
    """A cell's value: text that would be a formula stands behind an apostrophe, an amount stays a number."""
    if isinstance(value, str) and _FORMULA.match(value) and not _AMOUNT.fullmatch(value):
        return f"'{value}"
    return value
