"""People who click through pages, in a process of their own, as browsers are on machines of their own.

Their client is as lean as can be, because it shares the machine with what is measured: a request is one write, and an
answer is read and dropped as it came.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection

CODINGS = "gzip, deflate, br, zstd"


class Clickers:
    """How many click, where, and how long each looks at a page; ``took`` has milliseconds of each page."""

    def __init__(self, port: int, paths: Sequence[str], how_many: int, click_s: float) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.took: list[float] = []
        self._ours, theirs = spawn.Pipe()
        arguments = (theirs, port, list(paths), how_many, click_s)
        self._process = spawn.Process(target=_serve_orders, args=arguments, daemon=True)
        self._process.start()

    @contextmanager
    def clicking(self) -> Iterator[None]:
        """They click until the block ends."""
        self._ours.send("begin")
        try:
            yield
        finally:
            self._ours.send("end")
            self.took += self._ours.recv()

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def _serve_orders(orders: Connection, port: int, paths: list[str], how_many: int, click_s: float) -> None:
    while orders.recv() == "begin":
        orders.send(asyncio.run(_click_until_told(orders, port, paths, how_many, click_s)))


async def _click_until_told(
    orders: Connection, port: int, paths: list[str], how_many: int, click_s: float
) -> list[float]:
    took: list[float] = []
    readers = [asyncio.create_task(_read(port, paths, number, how_many, click_s, took)) for number in range(how_many)]
    await asyncio.to_thread(orders.recv)
    for task in readers:
        task.cancel()
    for one in await asyncio.gather(*readers, return_exceptions=True):
        if isinstance(one, Exception):
            raise one
    return took


async def _read(port: int, paths: list[str], first: int, how_many: int, click_s: float, took: list[float]) -> None:
    await asyncio.sleep(click_s * first / how_many)
    reader, writer = await asyncio.open_connection("localhost", port)
    for number in count(first):
        began = time.perf_counter()
        path = paths[number % len(paths)]
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: reader=owner\r\n"
            f"Accept-Encoding: {CODINGS}\r\n\r\n".encode()
        )
        await _drop_answer(reader, path)
        took.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(max(0.0, click_s - (time.perf_counter() - began)))


async def _drop_answer(reader: asyncio.StreamReader, path: str) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200"), (path, head)
    _, has_length, length = head.partition(b"content-length: ")
    if has_length:
        await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()
