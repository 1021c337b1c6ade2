"""Makes one export in a process that does nothing else: its time and its memory.

``python -m bench.one_export URL FOLDER SINCE UNTIL WHAT``: what it imports is what an export needs, so that its peak of
memory is an export's own. In the product that process is ``jobs``, which has most of it without an export.
"""

import asyncio
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from billing.exports import run
from billing.exports.formats import ExportFormat, ExportKind, Grain
from billing.exports.requests import ExportState, Filters, find_export, request_export
from billing.exports.storage import ExportFolder
from store.postgres import Database


class Figure(msgspec.Struct, frozen=True):
    """One export: seconds, bytes, megabytes of memory at its peak and before it."""

    seconds: float
    rows: int
    size: int
    peak_mb: float
    before_mb: float


async def export(
    url: str, folder: Path, span: tuple[datetime, datetime], kind: ExportKind, format: ExportFormat, grain: Grain | None
) -> Figure:
    db = Database(url)
    place = ExportFolder(folder, 1 << 40, timedelta(days=1))
    async with db.transaction() as tx:
        made = await request_export(tx, kind, format, *span, Filters(grain=grain), "cli:bench")
    began, before = time.perf_counter(), memory_mb()
    assert await run.run_next(db, place)
    seconds = time.perf_counter() - began
    async with db.transaction() as tx:
        found = await find_export(tx, made.id)
    await db.close()
    assert found is not None
    assert found.state is ExportState.DONE, found.failure
    size = sum(file.stat().st_size for file in place.of(made.id).iterdir())
    place.remove(made.id)
    return Figure(seconds, found.rows_done, size, memory_mb(), before)


def memory_mb() -> float:
    """The most memory that this process has had; what getrusage tells has its parent's from before the exec, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peak) * 1024 / 1e6


def main(url: str, place: str, since: str, until: str, what: str) -> None:
    """Make it, and print the figure as JSON on the last line."""
    folder, span = Path(place), (datetime.fromisoformat(since), datetime.fromisoformat(until))
    if what.startswith("journal"):
        _, form, grain = what.split("-")
        figure = asyncio.run(export(url, folder, span, ExportKind.JOURNAL, ExportFormat(form), Grain(grain)))
    else:
        figure = asyncio.run(export(url, folder, span, ExportKind.USAGE, ExportFormat(what), None))
    sys.stdout.write(f"\n{msgspec.json.encode(figure).decode()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
