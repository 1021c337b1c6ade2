"""Pure. Writes journals as programs import them: any by generic CSV, QuickBooks Online, Xero, DATEV.

A journal is never cut in two. Texts are ours or the mapping's, no customer's.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from billing.exports import datev
from billing.exports.cells import harmless
from billing.exports.cents import Journal, description_of, number_of
from billing.exports.formats import ExportFormat, Grain
from billing.exports.mapping import Mapping

# Xero imports so many lines of a file; of QuickBooks a thousand are known to pass.
LINES_MAX = {ExportFormat.XERO: 300, ExportFormat.QUICKBOOKS: 1_000}


class ProgramFile(msgspec.Struct, frozen=True):
    """A file for a program: its rows, and the sum of its debits in cents."""

    name: str
    data: bytes
    rows: int
    debit_cents: int


class TooManyLines(ValueError):
    """A journal has more lines than the program imports at once."""


def write_files(
    format: ExportFormat, journals: Sequence[Journal], mapping: Mapping, *, grain: Grain, label: str, made_at: datetime
) -> list[ProgramFile]:
    """The files of some journals, in their order. Raises :class:`TooManyLines`."""
    if format is ExportFormat.DATEV:
        return [
            _file(f"EXTF_Buchungsstapel_{month}.csv", datev.write(found, mapping, grain, made_at), found)
            for month, found in _by_month(journals)
        ]
    write = _WRITERS[format]
    chunks = list(_chunks(journals, LINES_MAX.get(format)))
    suffixes = [f"-{number:02d}" for number in range(1, len(chunks) + 1)] if len(chunks) > 1 else [""]
    return [
        _file(f"{format.value}-{label}{suffix}.csv", write(chunk, mapping, grain), chunk)
        for suffix, chunk in zip(suffixes, chunks, strict=True)
    ]


def _file(name: str, data: bytes, journals: Sequence[Journal]) -> ProgramFile:
    lines = [line for journal in journals for line in journal.lines]
    return ProgramFile(name, data, len(lines), sum(line.cents for line in lines if line.cents > 0))


def _by_month(journals: Iterable[Journal]) -> Iterator[tuple[str, list[Journal]]]:
    months: dict[str, list[Journal]] = {}
    for journal in journals:
        months.setdefault(f"{journal.day:%Y-%m}", []).append(journal)
    yield from months.items()


def _chunks(journals: Iterable[Journal], lines_max: int | None) -> Iterator[list[Journal]]:
    """Whole journals, so many that a file has at most ``lines_max`` lines; one empty chunk where there are none."""
    chunk: list[Journal] = []
    lines = 0
    for journal in journals:
        if lines_max is not None and len(journal.lines) > lines_max:
            raise TooManyLines(
                f"The journal of {journal.day} has {len(journal.lines)} lines, and the program imports {lines_max} at "
                "once: map several ledger accounts to one code."
            )
        if lines_max is not None and lines + len(journal.lines) > lines_max:
            yield chunk
            chunk, lines = [], 0
        chunk.append(journal)
        lines += len(journal.lines)
    yield chunk


def decimal(cents: int) -> str:
    """An amount with two decimals."""
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def _generic(journals: Sequence[Journal], mapping: Mapping, grain: Grain) -> bytes:
    header = ("journal", "date", "account", "tax", "debit", "credit", "currency", "description")
    by_code = mapping.by_code
    return _csv(
        header,
        (
            [
                number_of(journal.day, grain),
                f"{journal.day:%Y-%m-%d}",
                line.code,
                by_code[line.code].tax,
                decimal(line.cents) if line.cents > 0 else "",
                decimal(-line.cents) if line.cents < 0 else "",
                "USD",
                description_of(journal.day, grain),
            ]
            for journal in journals
            for line in journal.lines
        ),
    )


def _quickbooks(journals: Sequence[Journal], mapping: Mapping, grain: Grain) -> bytes:
    header = ("JournalNo", "JournalDate", "AccountName", "Debits", "Credits", "Description", "Name")
    by_code = mapping.by_code
    return _csv(
        header,
        (
            [
                number_of(journal.day, grain),
                f"{journal.day:%m/%d/%Y}",
                line.code,
                decimal(line.cents) if line.cents > 0 else "",
                decimal(-line.cents) if line.cents < 0 else "",
                description_of(journal.day, grain),
                by_code[line.code].name,
            ]
            for journal in journals
            for line in journal.lines
        ),
    )


def _xero(journals: Sequence[Journal], mapping: Mapping, grain: Grain) -> bytes:
    header = ("Narration", "Date", "Description", "AccountCode", "TaxRate", "Amount")
    by_code = mapping.by_code
    return _csv(
        header,
        (
            [
                # Lines of one narration and date are one journal.
                description_of(journal.day, grain),
                f"{journal.day:%d/%m/%Y}",
                description_of(journal.day, grain),
                line.code,
                by_code[line.code].tax,
                decimal(line.cents),
            ]
            for journal in journals
            for line in journal.lines
        ),
    )


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(header)
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return sink.getvalue().encode()


_WRITERS: dict[ExportFormat, Callable[[Sequence[Journal], Mapping, Grain], bytes]] = {
    ExportFormat.GENERIC: _generic,
    ExportFormat.QUICKBOOKS: _quickbooks,
    ExportFormat.XERO: _xero,
}
