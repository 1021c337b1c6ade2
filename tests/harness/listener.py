"""A TCP server for tests that leaves nothing open behind it, not even a connection that it is just accepting."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

# From the accepted socket to its StreamWriter the loop turns three times, and one more until a lost one is closed.
_TURNS = 5


class Listener:
    """Serves each connection by a task of ``client``. ``stop`` ends the tasks and resets what is still connected."""

    def __init__(self, client: Client) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.writers: set[asyncio.StreamWriter] = set()
        self._client = client
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0, **options: Any) -> int:
        """Listen, with what else ``asyncio.start_server`` takes; the port. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port, **options)
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    @property
    def listens(self) -> bool:
        return self._server is not None

    async def stop(self) -> None:
        if self._server is not None:
            await stop_accepting(self._server)
            self._server.close()
            self._server = None
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for writer in self.writers:
            writer.transport.abort()
        await _turn()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers = {writer, *(each for each in self.writers if not _is_lost(each))}
        task = asyncio.get_running_loop().create_task(self._client(reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _is_lost(writer: asyncio.StreamWriter) -> bool:
    # Closing is not enough: a transport whose peer reads nothing closes when its last byte is written.
    return writer.transport.is_closing() and not writer.transport.get_write_buffer_size()


async def stop_accepting(server: asyncio.Server) -> None:
    """Take no more connections, and finish making those that were taken: asyncio leaks what is made after a close."""
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    await _turn()


async def _turn() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
