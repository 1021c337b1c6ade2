"""Pure. Reads a provider's invoice from the bytes of a CSV file by a column map, or says what is wrong with it.

Nothing is guessed: a byte order mark, bytes that are no text, a file that was cut off, columns that the map does not
have, amounts that are none, another currency, a line that is there twice: each is a fault with its line and column.
Lines and columns are counted from 1, and a line is one of the file, not a row.
"""

import csv
import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec
from typing_extensions import override

from billing.money import MAX_AMOUNT, NanoUSD, to_usd
from billing.reconciliation.column_map import ColumnMap

LINES_MAX = 200_000
FAULTS_MAX = 20
COUNT_MAX = 2**62
NANO = Decimal(10) ** -9
BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_COUNT = re.compile(r"[0-9]{1,18}")


class InvoiceLine(msgspec.Struct, frozen=True):
    """A line of an invoice; ``line`` is where it begins in the file, ``model`` what the provider calls it."""

    line: int
    day: date | None
    model: str
    requests: int | None
    tokens: int | None
    amount: NanoUSD


class Fault(msgspec.Struct, frozen=True):
    """What is wrong, and where."""

    line: int
    column: str
    message: str

    @override
    def __str__(self) -> str:
        return f"Line {self.line}, column {self.column}: {self.message}."


class FileRefused(ValueError):
    """The file cannot be imported; ``faults`` are the first twenty."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(" ".join(str(fault) for fault in faults))
        self.faults = faults


def read_invoice(content: bytes, map: ColumnMap, since: date, until: date, total: NanoUSD) -> list[InvoiceLine]:
    """Read the lines of an invoice for the days from ``since`` up to ``until``. Raises :class:`FileRefused`.

    ``total`` is what the invoice says it comes to: a file that was cut off between two lines does not.
    """
    rows = list(_rows(_text(content, map), map))
    if not rows:
        raise FileRefused([Fault(1, "1", "the file is empty")])
    (_, header), *rest = rows
    places = _places(header, map)
    faults: list[Fault] = []
    lines: list[InvoiceLine] = []
    seen: dict[tuple[str, ...], int] = {}
    for number, cells in rest:
        if len(faults) >= FAULTS_MAX:
            break
        if len(cells) != len(header):
            message = f"it has {len(cells)} cells, and the header has {len(header)}: was the file cut off"
            faults.append(Fault(number, str(len(cells)), message))
        elif (first := seen.setdefault(tuple(cells), number)) != number:
            faults.append(Fault(number, "1", f"it is the same as line {first}"))
        else:
            line = _Cells(number, cells, places, map, faults).line(since, until)
            lines += [] if line is None else [line]
    if not faults and not lines:
        faults.append(Fault(2, "1", "there is no line below the header"))
    if not faults and (found := sum(line.amount for line in lines)) != total:
        last, amount = lines[-1].line, map.columns.amount
        message = f"up to here the lines come to {to_usd(NanoUSD(found))}, and the invoice to {to_usd(total)}"
        faults.append(Fault(last, amount, message))
    if faults:
        raise FileRefused(faults[:FAULTS_MAX])
    return lines


def _text(content: bytes, map: ColumnMap) -> str:
    encoding = map.format.encoding
    if encoding in ("utf-8", "windows-1252", "iso-8859-1") and content.startswith(BOMS):
        message = 'the file begins with a byte order mark: the map needs encoding = "utf-8-sig" or "utf-16"'
        raise FileRefused([Fault(1, "1", message)])
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as fault:
        before = content[: fault.start]
        line, column = before.count(b"\n") + 1, fault.start - (before.rfind(b"\n") + 1) + 1
        raise FileRefused([Fault(line, f"{column} (byte)", f"it is not {encoding} text")]) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise FileRefused([Fault(line, "1", f"it has a character of value zero: it is not {encoding} text")])
    if text and map.format.ends_with_newline and not text.endswith(("\n", "\r")):
        last = text.splitlines()[-1]
        line, cells = len(text.splitlines()), last.count(map.format.delimiter) + 1
        message = "the last line does not end; the file may be cut off, or the map may say ends_with_newline = false"
        raise FileRefused([Fault(line, str(cells), message)])
    return text


def _rows(text: str, map: ColumnMap) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with the line that each begins at."""
    reader = csv.reader(text.splitlines(keepends=True), delimiter=map.format.delimiter, strict=True)
    begins = 1
    try:
        for cells in reader:
            if begins > LINES_MAX:
                raise FileRefused([Fault(begins, "1", f"an invoice has at most {LINES_MAX:,} lines")])
            if cells:
                yield begins, [cell.strip() for cell in cells]
            begins = reader.line_num + 1
    except csv.Error as fault:
        raise FileRefused([Fault(begins, "1", f"a quoted cell does not end, or is no cell ({fault})")]) from None


def _places(header: list[str], map: ColumnMap) -> dict[str, int]:
    """Where each column is that is read. Raises :class:`FileRefused` for columns that are missing or not in the map."""
    faults = []
    known = {*map.columns.read.values(), *map.columns.ignore}
    for place, name in enumerate(header, start=1):
        if name not in known:
            faults.append(Fault(1, str(place), f"the map has no column {name[:100]!r}: name it, or ignore it"))
        elif header.index(name) != place - 1:
            faults.append(Fault(1, str(place), f"the column {name!r} is there twice"))
    for what, name in map.columns.read.items():
        if name not in header:
            faults.append(Fault(1, str(len(header)), f"the column {name!r} is missing, which has the {what}"))
    if faults:
        raise FileRefused(faults[:FAULTS_MAX])
    return {what: header.index(name) for what, name in map.columns.read.items()}


class _Cells:
    """The cells of one row, read by what they are; what cannot be read is added to the faults."""

    def __init__(
        self, number: int, cells: list[str], places: dict[str, int], map: ColumnMap, faults: list[Fault]
    ) -> None:
        self._number = number
        self._cells = cells
        self._places = places
        self._map = map
        self._faults = faults

    def line(self, since: date, until: date) -> InvoiceLine | None:
        """The line, or None where something in it is wrong."""
        before = len(self._faults)
        self._check_currency()
        model, day, amount = self._model(), self._day(since, until), self._amount()
        requests, tokens = self._count("requests"), self._count("tokens")
        if len(self._faults) > before:
            return None
        return InvoiceLine(self._number, day, model, requests, tokens, amount)

    def _cell(self, what: str) -> str:
        return self._cells[self._places[what]]

    def _refuse(self, what: str, message: str) -> None:
        column = f"{self._places[what] + 1} ({self._map.columns.read[what]})"
        self._faults.append(Fault(self._number, column, message))

    def _check_currency(self) -> None:
        if "currency" in self._places and (cell := self._cell("currency")).upper() != self._map.format.currency:
            self._refuse("currency", f"the currency is {cell[:20]!r}, and the books are in {self._map.format.currency}")

    def _model(self) -> str:
        cell = self._cell("model")
        if not 1 <= len(cell) <= 300:
            self._refuse("model", "a model has 1 to 300 characters")
        return cell

    def _day(self, since: date, until: date) -> date | None:
        if "day" not in self._places:
            return None
        cell = self._cell("day")
        try:
            if not cell.isascii():
                raise ValueError(cell)
            day = datetime.strptime(cell, self._map.format.day).date()  # noqa: DTZ007 - days of UTC
        except ValueError:
            self._refuse("day", f"{cell[:40]!r} is no day such as {date(2026, 11, 1).strftime(self._map.format.day)}")
            return None
        if not since <= day < until:
            self._refuse("day", f"{day} is not among the days of the invoice, {since} up to {until}")
        return day

    def _amount(self) -> NanoUSD:
        cell, format = self._cell("amount"), self._map.format
        plain = cell.replace(format.decimal, ".") if format.decimal != "." else cell
        is_plain = format.decimal == "." or "." not in cell
        if not is_plain or re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,30})?", plain) is None:
            self._refuse("amount", f"{cell[:40]!r} is no amount such as 1234{format.decimal}56")
            return NanoUSD(0)
        exact = Decimal(plain)
        rounded = exact.quantize(NANO, rounding=ROUND_HALF_EVEN)
        if rounded != exact and not format.round:
            self._refuse("amount", f"{cell[:40]!r} has more than nine decimals: the map may say round = true")
        nano = int(rounded.scaleb(9))
        if abs(nano) > MAX_AMOUNT:
            self._refuse("amount", f"{cell[:40]!r} is more than {to_usd(MAX_AMOUNT)}")
        return NanoUSD(nano)

    def _count(self, what: str) -> int | None:
        if what not in self._places or not (cell := self._cell(what)):
            return None
        if _COUNT.fullmatch(cell) is None:
            self._refuse(what, f"{cell[:40]!r} is no whole number")
            return None
        return int(cell)
