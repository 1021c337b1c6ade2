"""Writes the rows of a table as Postgres copies them: CSV as it comes, compressed, or turned into Parquet by blocks."""

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from billing.exports import bundle
from billing.exports.formats import ExportFormat, ExportKind
from billing.exports.parquet import ParquetSink
from billing.exports.storage import GzipSink, HashingFile, PlainSink
from billing.exports.tables import TABLES_OF, Table, hours_query, rows_query, sums_query
from billing.exports.work import Part, Work, period_label

# A spreadsheet opens 1,048,576 rows.
ROWS_MAX = 1_000_000
# Of Parquet, a block is a row group; the others are no faster by larger ones.
BLOCK_BYTES = {ExportFormat.CSV: 256 << 10, ExportFormat.CSV_GZ: 256 << 10, ExportFormat.PARQUET: 4 << 20}


class Sink(Protocol):
    """Takes blocks of whole rows."""

    def write(self, block: bytes | bytearray) -> None:
        """Append a block."""
        ...

    def end(self) -> None:
        """Write what is left."""
        ...


async def plan(work: Work) -> list[Part]:
    """The files: of whole hours, so many that each has at most a million rows, unless a single hour has more."""
    export = work.export
    label = period_label(export.since, export.until)
    parts: list[Part] = []
    for table in TABLES_OF[export.kind]:
        whole = await _whole(work, table)
        cuts = await _cuts(work, table) if table.at and whole.rows > ROWS_MAX else [whole]
        for number, cut in enumerate(cuts, start=1):
            suffix = f"-{number:04d}" if len(cuts) > 1 else ""
            name = f"{table.name}-{label}{suffix}.{export.format.value}"
            sums = {column: f"{amount:f}" for column, amount in cut.sums.items()}
            parts.append(Part(len(parts) + 1, name, table.name, cut.since, cut.until, cut.rows, sums))
    if export.kind is ExportKind.DOCUMENTS:
        parts.append(await bundle.plan(work, len(parts) + 1, label))
    return parts


class _Cut(msgspec.Struct):
    """A span of time, its rows, and their sums."""

    since: datetime
    until: datetime
    rows: int
    sums: dict[str, Decimal]

    def add(self, row: Any) -> None:  # noqa: ANN401
        """Add the rows of an hour."""
        self.rows += row["rows"]
        for name, amount in self.sums.items():
            self.sums[name] = amount + row[name]


async def _cuts(work: Work, table: Table) -> list[_Cut]:
    export = work.export
    query = hours_query(table, export.since, export.until, export.filters)
    cuts = [_Cut(export.since, export.until, 0, dict.fromkeys(table.sums, Decimal(0)))]
    for row in await work.connection.fetch(query.sql, *query.arguments):
        if cuts[-1].rows and cuts[-1].rows + row["rows"] > ROWS_MAX:
            cuts[-1].until = row["hour"]
            cuts.append(_Cut(row["hour"], export.until, 0, dict.fromkeys(table.sums, Decimal(0))))
        cuts[-1].add(row)
    return cuts


async def _whole(work: Work, table: Table, part: Part | None = None) -> _Cut:
    """The whole table, or a part of it, as one cut."""
    since, until = (work.export.since, work.export.until) if part is None else (part.since, part.until)
    query = sums_query(table, since, until, work.export.filters)
    cut = _Cut(since, until, 0, dict.fromkeys(table.sums, Decimal(0)))
    cut.add(await work.connection.fetchrow(query.sql, *query.arguments))
    return cut


async def write(work: Work, part: Part, file: HashingFile) -> tuple[int, dict[str, str]]:
    """Write one file; returns its rows and the sums of its amounts, which are of the same snapshot."""
    if part.content == bundle.CONTENT:
        return await bundle.write(work, part, file)
    format = work.export.format
    [table] = [table for table in TABLES_OF[work.export.kind] if table.name == part.content]
    is_csv = format is not ExportFormat.PARQUET
    query = rows_query(table, part.since, part.until, work.export.filters, is_csv=is_csv)
    sink = await asyncio.to_thread(_sink, format, file, table)
    blocks = _Blocks(sink, BLOCK_BYTES[format], work)
    try:
        status = await work.connection.copy_from_query(
            query.sql, *query.arguments, output=blocks.take, format="csv", header=is_csv, timeout=None
        )
    finally:
        await blocks.end()
    await asyncio.to_thread(sink.end)
    rows = int(status.split()[1])
    if rows == part.rows:
        return rows, part.sums
    # The plan is an earlier run's, and something came to a period that was long over.
    return rows, {name: f"{amount:f}" for name, amount in (await _whole(work, table, part)).sums.items()}


class _Blocks:
    """Writes rows by blocks, in a thread, while Postgres makes the next block."""

    def __init__(self, sink: Sink, size: int, work: Work) -> None:
        self._sink, self._size, self._work = sink, size, work
        self._block = bytearray()
        self._writing: asyncio.Future[None] | None = None

    async def take(self, rows: bytes) -> None:
        """Take what Postgres sent: whole rows, so that a block never ends inside of one."""
        self._block.extend(rows)
        if len(self._block) >= self._size:
            await self._begin()

    async def end(self) -> None:
        """Write what is left."""
        if self._block:
            await self._begin()
        await self._written()

    async def _begin(self) -> None:
        """Begin to write the block, once the one before it is written."""
        await self._written()
        data, self._block = self._block, bytearray()
        self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, data)

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    def _write(self, data: bytearray) -> None:
        self._sink.write(data)
        self._work.count(data.count(b"\n"))


def _sink(format: ExportFormat, file: HashingFile, table: Table) -> Sink:
    match format:
        case ExportFormat.PARQUET:
            return ParquetSink(file, table)
        case ExportFormat.CSV_GZ:
            return GzipSink(file)
        case _:
            return PlainSink(file)
