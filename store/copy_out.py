"""Streams the rows of a query out of Postgres as CSV, in blocks, as fast as their reader takes them.

Memory stays flat: Postgres waits while a few blocks wait for the reader. The connection is the stream's own and ends
with it, whether the reader has read all or gone away.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from store.postgres import Connection, Database

BLOCK_BYTES = 64 * 1024
BLOCKS_WAITING = 8


class _Blocks:
    """Blocks on their way from Postgres to a reader."""

    def __init__(self) -> None:
        self._gathered = bytearray()
        self._blocks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(BLOCKS_WAITING)

    async def take(self, rows: bytes) -> None:
        """Take what Postgres sent; waits while the reader is behind."""
        self._gathered.extend(rows)
        if len(self._gathered) >= BLOCK_BYTES:
            await self._room.acquire()
            self.flush()

    def flush(self) -> None:
        """Pass on what is gathered."""
        self._blocks.put_nowait(bytes(self._gathered))
        self._gathered.clear()

    def end(self, copying: "asyncio.Future[None]") -> None:
        """Tell the reader that there is no more, for whatever reason."""
        self._blocks.put_nowait(None)

    async def next(self) -> bytes | None:
        """The next block; None at the end."""
        block = await self._blocks.get()
        self._room.release()
        return block


async def stream_csv(db: Database, query: str, *arguments: object, within_s: float) -> AsyncGenerator[bytes]:
    """Yield the CSV of a query with its header. Raises what asyncpg does; TimeoutError after ``within_s`` seconds."""
    connection = await db.connect(command_timeout_s=within_s)
    blocks = _Blocks()
    copying = asyncio.ensure_future(_copy(connection, blocks, query, arguments, within_s))
    copying.add_done_callback(blocks.end)
    try:
        while (block := await blocks.next()) is not None:
            yield block
        await copying
    finally:
        copying.cancel()
        connection.terminate()


async def first_block(stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Wait for the first block of a stream, so that a query which fails does so before an answer begins."""
    first = await anext(stream, b"")

    async def whole() -> AsyncGenerator[bytes]:
        async with aclosing(stream):
            yield first
            async for block in stream:
                yield block

    return whole()


async def _copy(
    connection: Connection, blocks: _Blocks, query: str, arguments: tuple[object, ...], within_s: float
) -> None:
    async with asyncio.timeout(within_s), connection.transaction(readonly=True):
        await connection.copy_from_query(
            query, *arguments, output=blocks.take, format="csv", header=True, timeout=within_s
        )
    blocks.flush()
