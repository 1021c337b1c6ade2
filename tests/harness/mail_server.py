"""A mail server for tests: takes messages by SMTP (RFC 5321), defers the first, refuses some addresses for good."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager


class _Session:
    def __init__(self, received: list[bytes], refuses: Collection[str], deferrals: list[int]) -> None:
        self.received = received
        self.refuses = refuses
        self.deferrals = deferrals

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._say(writer, "220 test")
        while line := await reader.readline():
            command = line.decode().strip().upper()
            if command.startswith("DATA"):
                await self._say(writer, "354 go on")
                await self._take(reader, writer)
            elif command.startswith("RCPT") and any(one.upper() in command for one in self.refuses):
                await self._say(writer, "550 no such mailbox")
            elif command.startswith("QUIT"):
                await self._say(writer, "221 bye")
                break
            else:
                await self._say(writer, "250 ok")
        writer.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = []
        while (line := await reader.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        if self.deferrals[0]:
            self.deferrals[0] -= 1
            await self._say(writer, "451 try again later")
            return
        self.received.append(b"".join(lines))
        await self._say(writer, "250 taken")

    async def _say(self, writer: asyncio.StreamWriter, text: str) -> None:
        writer.write(f"{text}\r\n".encode())
        await writer.drain()


@asynccontextmanager
async def mail_server(refuses: Collection[str] = (), deferrals: int = 0) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server's port and the messages that it took."""
    received: list[bytes] = []
    session = _Session(received, refuses, [deferrals])
    server = await asyncio.start_server(session, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received
