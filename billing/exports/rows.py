"""Writes the rows of a table as Postgres copies them: CSV as it comes, compressed, or turned into Parquet by blocks."""

import asyncio
from datetime import datetime
from typing import Any, Protocol

from billing.exports.formats import ExportFormat
from billing.exports.parquet import ParquetSink
from billing.exports.storage import GzipSink, HashingFile, PlainSink
from billing.exports.tables import TABLES_OF, Table, hours_query, rows_query, sums_query
from billing.exports.work import Part, Work, period_label

# A spreadsheet opens 1,048,576 rows.
ROWS_MAX = 1_000_000
# Of Parquet, a block is a row group.
BLOCK_BYTES = {ExportFormat.CSV: 1 << 20, ExportFormat.CSV_GZ: 1 << 20, ExportFormat.PARQUET: 8 << 20}


class Sink(Protocol):
    """Takes blocks of whole rows."""

    def write(self, block: bytes) -> None:
        """Append a block."""
        ...

    def end(self) -> None:
        """Write what is left."""
        ...


async def plan(work: Work) -> list[Part]:
    """The files: of whole hours, so many that each has at most a million rows, unless a single hour has more."""
    export = work.export
    parts: list[Part] = []
    for table in TABLES_OF[export.kind]:
        cuts = await _cuts(work, table) if table.at else [(export.since, export.until, 0)]
        label = period_label(export.since, export.until)
        for number, (since, until, rows) in enumerate(cuts, start=1):
            suffix = f"-{number:04d}" if len(cuts) > 1 else ""
            name = f"{table.name}-{label}{suffix}.{export.format.value}"
            parts.append(Part(len(parts) + 1, name, table.name, since, until, rows))
    return parts


async def _cuts(work: Work, table: Table) -> list[tuple[datetime, datetime, int]]:
    export = work.export
    query = hours_query(table, export.since, export.until, export.filters)
    cuts: list[tuple[datetime, datetime, int]] = []
    since, rows = export.since, 0
    for hour, count in await work.connection.fetch(query.sql, *query.arguments):
        if rows and rows + count > ROWS_MAX:
            cuts.append((since, hour, rows))
            since, rows = hour, 0
        rows += count
    return [*cuts, (since, export.until, rows)]


async def write(work: Work, part: Part, file: HashingFile) -> tuple[int, dict[str, str]]:
    """Write one file; returns its rows and the sums of its amounts, which are of the same snapshot."""
    format = work.export.format
    [table] = [table for table in TABLES_OF[work.export.kind] if table.name == part.content]
    is_csv = format is not ExportFormat.PARQUET
    query = rows_query(table, part.since, part.until, work.export.filters, is_csv=is_csv)
    sink = await asyncio.to_thread(_sink, format, file, table)
    block = bytearray()

    async def flush() -> None:
        data = bytes(block)
        block.clear()
        await asyncio.to_thread(sink.write, data)
        work.count(data.count(b"\n"))

    async def take(rows: bytes) -> None:
        # Postgres sends whole rows, so that a block never ends inside of one.
        block.extend(rows)
        if len(block) >= BLOCK_BYTES[format]:
            await flush()

    status = await work.connection.copy_from_query(
        query.sql, *query.arguments, output=take, format="csv", header=is_csv, timeout=None
    )
    if block:
        await flush()
    await asyncio.to_thread(sink.end)
    sums = await _sums(work, table, part)
    assert int(status.split()[1]) == int(sums.pop("rows")), "a snapshot has two counts of the same rows; this is a bug"
    return int(status.split()[1]), sums


async def _sums(work: Work, table: Table, part: Part) -> dict[str, str]:
    query = sums_query(table, part.since, part.until, work.export.filters)
    row: Any = await work.connection.fetchrow(query.sql, *query.arguments)
    return {name: str(value) for name, value in row.items()}


def _sink(format: ExportFormat, file: HashingFile, table: Table) -> Sink:
    match format:
        case ExportFormat.PARQUET:
            return ParquetSink(file, table)
        case ExportFormat.CSV_GZ:
            return GzipSink(file)
        case _:
            return PlainSink(file)
