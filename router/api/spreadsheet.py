"""Pure. Writes rows as CSV for a spreadsheet, in which no cell is taken for a formula."""

import csv
import io
from collections.abc import Iterable, Sequence

from billing.exports.cells import harmless


def csv_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A header and rows as RFC 4180 has them."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(header)
    writer.writerows([harmless(value) for value in row] for row in rows)
    return sink.getvalue()
