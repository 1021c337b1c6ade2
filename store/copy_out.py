"""Copies the rows of a query out of Postgres as CSV, block by block, as fast as their reader takes them.

Memory stays flat: while a block is on its way to the reader, Postgres waits. The connection is the copy's own and ends
with it, whether the reader has taken all or gone away.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress

from store.postgres import Database

BLOCK_BYTES = 64 * 1024
BLOCKS_WAITING = 4
Take = Callable[[bytes], Awaitable[None]]


async def copy_csv(
    db: Database, query: str, *arguments: object, take: Take, within_s: float, settings: Sequence[str] = ()
) -> None:
    """Give the CSV of a query, with its header, to ``take``. Raises what asyncpg, and ``take``, do.

    ``settings``: statements before it, of its transaction alone.
    """
    gathered = bytearray()

    async def gather(rows: bytes) -> None:
        gathered.extend(rows)
        if len(gathered) >= BLOCK_BYTES:
            block = bytes(gathered)
            gathered.clear()
            await take(block)

    connection = await db.connect(command_timeout_s=within_s)
    try:
        async with connection.transaction(readonly=True):
            for statement in settings:
                await connection.execute(statement)
            await connection.copy_from_query(
                query, *arguments, output=gather, format="csv", header=True, timeout=within_s
            )
        await take(bytes(gathered))
    finally:
        connection.terminate()


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
