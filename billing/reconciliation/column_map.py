"""Pure. Reads the file that says which columns of a provider's invoice are what.

TOML. ``[columns]`` has for ``model`` and ``amount``, and where there are such for ``day``, ``tokens``, ``requests`` and
``currency``, the name in the header; ``ignore`` lists the columns that say nothing. ``[format]`` says how the file is
written. What is misspelled is a fault when the map is stored.
"""

import tomllib
from datetime import datetime

import msgspec

from billing.money import NanoUSD, from_usd

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "windows-1252", "iso-8859-1")
DELIMITERS = (",", ";", "\t", "|")


class Columns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The names of the columns in the header."""

    model: str
    amount: str
    day: str = ""
    tokens: str = ""
    requests: str = ""
    currency: str = ""
    ignore: tuple[str, ...] = ()

    @property
    def read(self) -> dict[str, str]:
        """The columns that are read, by what they are."""
        names = {name: getattr(self, name) for name in ("model", "amount", "day", "tokens", "requests", "currency")}
        return {name: column for name, column in names.items() if column}


class Format(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the file is written. ``day`` is a format of strptime; ``tolerance_usd`` is what no difference is.

    ``round``: amounts with more than nine decimals are rounded, half to even; else they are a fault.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    day: str = "%Y-%m-%d"
    currency: str = "USD"
    round: bool = False
    tolerance_usd: str = "0.01"
    ends_with_newline: bool = True


class ColumnMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A map file."""

    columns: Columns
    format: Format = Format()

    @property
    def tolerance(self) -> NanoUSD:
        """Differences of a model and day that are not larger are none."""
        return from_usd(self.format.tolerance_usd)


class MapRefused(ValueError):
    """The map cannot be used; the message has a sentence for each fault."""


def read_map(text: str) -> ColumnMap:
    """Read a map file. Raises :class:`MapRefused`."""
    try:
        found = msgspec.convert(tomllib.loads(text), ColumnMap)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as fault:
        raise MapRefused(f"The map cannot be read: {fault}.") from None
    if faults := _faults(found):
        raise MapRefused(" ".join(faults))
    return found


def _faults(found: ColumnMap) -> list[str]:
    columns, format = found.columns, found.format
    faults = []
    named = [*columns.read.values(), *columns.ignore]
    if not columns.model or not columns.amount:
        faults.append("'model' and 'amount' need a column.")
    if twice := sorted({name for name in named if named.count(name) > 1}):
        faults.append(f"{', '.join(twice)} is named twice.")
    if format.delimiter not in DELIMITERS:
        faults.append("'delimiter' is a comma, a semicolon, a tab or |.")
    if format.encoding not in ENCODINGS:
        faults.append(f"'encoding' is one of {', '.join(ENCODINGS)}.")
    if format.decimal not in (".", ",") or format.decimal == format.delimiter:
        faults.append("'decimal' is a point or a comma, and not the delimiter.")
    if format.currency != "USD":
        faults.append("'currency' is USD: the books are in USD, so an invoice in another currency is converted first.")
    if not _is_day_format(format.day):
        faults.append("'day' is a format with year, month and day, such as %Y-%m-%d.")
    try:
        if from_usd(format.tolerance_usd) < 0:
            raise ValueError(format.tolerance_usd)
    except ValueError:
        faults.append("'tolerance_usd' is an amount such as \"0.01\".")
    return faults


def _is_day_format(text: str) -> bool:
    day = datetime(2026, 11, 28)  # noqa: DTZ001 - a date
    try:
        return datetime.strptime(day.strftime(text), text).date() == day.date()  # noqa: DTZ007 - a date
    except ValueError:
        return False
