"""Copies the rows of a query out of Postgres as CSV, block by block, as fast as their reader takes them.

Memory stays flat: while a block is on its way to the reader, Postgres waits. The connection is the copy's own and ends
with it, whether the reader has taken all or gone away.

Postgres writes its text format with commas, which costs it a fifteenth less than CSV and is CSV wherever no cell needs
quotes. A block in which one does is known by a backslash or a quote, and is written anew.
"""

import asyncio
import csv
import io
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress

from store.postgres import Database

# Each block costs its reader's process two switches of tasks.
BLOCK_BYTES = 256 * 1024
BLOCKS_WAITING = 2
Take = Callable[[bytes], Awaitable[None]]

_CELL = re.compile(r"(?:^|,)((?:[^\\,]|\\.)*)")
_ESCAPED = re.compile(r"\\(.)")
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


async def copy_csv(
    db: Database, query: str, *arguments: object, take: Take, within_s: float, settings: Sequence[str] = ()
) -> None:
    """Give the CSV of a query, with its header, to ``take``. Raises what asyncpg, and ``take``, do.

    ``settings``: statements before it, of its transaction alone. Neither NULL nor an empty text has quotes.
    """
    gathered: list[bytes] = []
    size = 0

    async def gather(rows: bytes) -> None:
        """Take what Postgres sent: whole rows, so that a block never ends inside of one."""
        nonlocal size
        gathered.append(rows)
        size += len(rows)
        if size >= BLOCK_BYTES:
            block = b"".join(gathered)
            gathered.clear()
            size = 0
            await take(_as_csv(block))

    connection = await db.connect(command_timeout_s=within_s)
    try:
        async with connection.transaction(readonly=True):
            for statement in settings:
                await connection.execute(statement)
            await connection.copy_from_query(
                query, *arguments, output=gather, format="text", delimiter=",", null="", header=True, timeout=within_s
            )
        await take(_as_csv(b"".join(gathered)))
    finally:
        connection.terminate()


def _as_csv(block: bytes) -> bytes:
    """Rows of the text format, with commas, as CSV. A backslash stands before what would end a cell or a row there."""
    if b"\\" not in block and b'"' not in block:
        return block
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    for line in block.decode().removesuffix("\n").split("\n"):
        writer.writerow(_ESCAPED.sub(_plain, cell) for cell in _CELL.findall(line))
    return rows.getvalue().encode()


def _plain(escaped: re.Match[str]) -> str:
    return _CONTROLS.get(escaped[1], escaped[1])


async def blocks_of(copy: Callable[[Take], Awaitable[None]]) -> AsyncGenerator[bytes]:
    """Yield what ``copy`` gives to its function; a few blocks wait while the reader is behind."""
    blocks: asyncio.Queue[bytes] = asyncio.Queue(BLOCKS_WAITING)

    async def fill() -> None:
        await copy(blocks.put)
        await blocks.put(b"")

    async with asyncio.TaskGroup() as group:
        filling = group.create_task(fill())
        # The reader has gone: then nothing more is copied.
        with suppress(GeneratorExit):
            while block := await blocks.get():
                yield block
        filling.cancel()
