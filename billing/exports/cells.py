"""Pure. Makes cells of CSV harmless: no text in them is taken for a formula, whatever script it is in."""

import re

# With these a spreadsheet takes a cell for a formula, also after blanks, which some of them cut off.
_FORMULA = re.compile(r"[\s\ufeff]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_AMOUNT = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def harmless(value: object) -> object:
    """A cell's value: text that would be a formula stands behind an apostrophe, an amount stays a number.

    ``csv_cell`` of the database does the same where rows are copied out of it.
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _AMOUNT.fullmatch(value):
        return f"'{value}"
    return value
