"""Computes a month's closing papers: tables of text, each of which adds up to the ledger.

All of it is in one snapshot, after the month was frozen and sealed. A balance at the month's end is the sum of all that
is sealed, less what is booked in later months: that reads the entries since the month began, not all there are.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.close.pack_checks import find_faults
from billing.close.pack_queries import QUERIES, SINCE
from billing.close.pack_tables import NAMES, PAPERS, Table
from billing.periods import next_month, read_pack

__all__ = ["NAMES", "Papers", "Table", "compute", "read_papers", "tables_of"]


class Papers(msgspec.Struct, frozen=True):
    """Some of a month's papers. ``names``: all that it has; ``is_final``: it is closed, and they never change."""

    is_final: bool
    names: tuple[str, ...]
    tables: Sequence[Table]
    faults: Sequence[str]


async def compute(tx: AsyncConnection, period: date) -> tuple[str, list[str]]:
    """The papers as JSON, and what of them does not add up: nothing."""
    tables, faults = await tables_of(tx, period)
    return msgspec.json.encode(tables).decode(), faults


async def read_papers(tx: AsyncConnection, period: date, wanted: Collection[str] = NAMES) -> Papers:
    """The wanted papers: of a closed month as they were then, of another one a preview. Unknown names are left out."""
    if (pack := await read_pack(tx, period)) is not None:
        tables = msgspec.convert(pack, list[Table])
        names = tuple(table.name for table in tables)
        return Papers(True, names, [table for table in tables if table.name in wanted], [])
    return Papers(False, NAMES, *await tables_of(tx, period, wanted))


async def tables_of(
    tx: AsyncConnection, period: date, wanted: Collection[str] = NAMES
) -> tuple[list[Table], list[str]]:
    """The wanted papers, and what of them does not add up. Before the month is closed they are a preview.

    Only the statements that they are made and checked from are read, each once.
    """
    papers = [paper for paper in PAPERS if paper.name in wanted]
    begins = datetime(period.year, period.month, 1, tzinfo=UTC)
    facts: dict[str, Any] = {
        "period": period,
        "begins": begins,
        "ends": datetime.combine(next_month(period), datetime.min.time(), UTC),
    }
    reads = [name for name in QUERIES if any(name in paper.reads for paper in papers)]
    if any(":since" in QUERIES[name].text for name in reads):
        # Whatever belongs to the month was booked after it began; a day for clocks that differ.
        facts["since"] = await tx.scalar(SINCE, {"before": begins - timedelta(days=1)}) or "0"
    found = {name: [row._mapping for row in await tx.execute(QUERIES[name], facts)] for name in reads}
    return [paper.fill(found) for paper in papers], find_faults(found)
