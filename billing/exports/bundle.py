"""Writes the files of issued documents, as they were stored when they were issued, into one archive."""

import asyncio
import zipfile
from typing import IO, cast

from billing.exports.storage import HashingFile
from billing.exports.work import Part, Work

CONTENT = "bundle"
# What a file is called behind its document's number.
_ENDINGS = {"ubl": "ubl.xml", "facturx": "facturx.pdf"}
# The same bytes for the same documents: an entry's time is no fact of them.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_OF = """
    FROM documents d JOIN document_files f ON f.document_id = d.id
    WHERE d.issued_at >= $1 AND d.issued_at < $2 AND ($3::uuid IS NULL OR d.account_id = $3)
"""
_COUNT = f"SELECT count(*) {_OF}"
_FILES = f"SELECT d.name, f.format, f.content {_OF} ORDER BY d.issued_at, d.id, f.format"


async def plan(work: Work, number: int, label: str) -> Part:
    """The archive, as a part of an export."""
    export = work.export
    count = await work.connection.fetchval(_COUNT, export.since, export.until, export.filters.account_id)
    return Part(number, f"documents-{label}.zip", CONTENT, export.since, export.until, count)


async def write(work: Work, part: Part, file: HashingFile) -> tuple[int, dict[str, str]]:
    """Write the archive, one file after the other; returns how many it has."""
    # It is written from front to back, which an archive can be.
    archive = zipfile.ZipFile(cast("IO[bytes]", file), "w", zipfile.ZIP_DEFLATED)
    count = 0
    arguments = (part.since, part.until, work.export.filters.account_id)
    async for name, format, content in work.connection.cursor(_FILES, *arguments, prefetch=20):
        entry = zipfile.ZipInfo(f"{name}.{_ENDINGS.get(format, format)}", _NO_TIME)
        entry.compress_type = zipfile.ZIP_DEFLATED
        await asyncio.to_thread(archive.writestr, entry, bytes(content))
        count += 1
        work.count(1)
    await asyncio.to_thread(archive.close)
    return count, {}
