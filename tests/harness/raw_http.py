"""A caller's end of HTTP, bare: one request on one connection that the caller may leave at any byte or moment."""

import asyncio
import json
from typing import Any

import msgspec


class Reply(msgspec.Struct, frozen=True):
    """What came back. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gone(Exception):
    """No whole answer: the connection could not be made, or broke; what became of the call is unknown."""


def request_bytes(path: str, key: str | None, body: object, headers: dict[str, str] | None = None) -> bytes:
    """One ``POST`` with a JSON body, after whose answer the server closes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"host": "gigarouter", "content-type": "application/json", "content-length": str(len(content))}
    lines |= {"connection": "close"} | ({"authorization": f"Bearer {key}"} if key else {}) | (headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content


async def send(port: int, request: bytes, *, timeout_s: float = 30) -> Reply:
    """Send, and read the whole answer. Raises :class:`Gone`."""
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
            writer.write(request)
            return await _read(reader)
    except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
        raise Gone(repr(error)) from error
    finally:
        if writer is not None:
            writer.close()


async def leave(port: int, request: bytes, *, after_bytes: int | None = None, after_s: float = 0.0) -> None:
    """Send the first bytes (all, where None), wait, and reset the connection without reading."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return
    try:
        writer.write(request[:after_bytes])
        await asyncio.sleep(after_s)
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        raise ValueError("answers of the API are not chunked")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(head[0].split(" ")[1]), headers, body)
