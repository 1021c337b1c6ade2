"""Copies the rows of a query out of Postgres as CSV, block by block, as fast as their reader takes them.

Memory stays flat: while a block is on its way to the reader, Postgres waits. The connection is the copy's own and ends
with it, whether the reader has taken all or gone away.
"""

from collections.abc import Awaitable, Callable

from store.postgres import Database

BLOCK_BYTES = 64 * 1024


async def copy_csv(
    db: Database, query: str, *arguments: object, take: Callable[[bytes], Awaitable[None]], within_s: float
) -> None:
    """Give the CSV of a query, with its header, to ``take``. Raises what asyncpg, and ``take``, do."""
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
            await connection.copy_from_query(
                query, *arguments, output=gather, format="csv", header=True, timeout=within_s
            )
        await take(bytes(gathered))
    finally:
        connection.terminate()
