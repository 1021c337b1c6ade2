"""The whole API of one process on a socket, with keys to it: real Postgres and Redis, an upstream behind its wire."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from gigarouter.settings import Settings
from gigarouter.wiring import process
from router.api.app import create_app
from router.api.exchange import Exchange
from router.context import RouterContext
from store.clock import Clock
from tests.harness.edge_server import Answer, Server, listening


class Credentials(msgspec.Struct, frozen=True):
    """A customer's key, an operator's, and a model that the customer's key may use."""

    key: str
    operator: str
    model: str


class ServedApi:
    """Where the API listens, for raw sockets and for a client."""

    def __init__(self, context: RouterContext, server: Server, client: httpx.AsyncClient, made: Credentials) -> None:
        self.context = context
        self.server = server
        self.client = client
        self.key = made.key
        self.operator = made.operator
        self.model = made.model

    async def raw(self, method: str, path: str, *headers: bytes, body: object = None) -> Answer:
        """One request, each header as its bytes are; no other header but Host, and Content-Length with a body."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1".encode(), b"host: test", *headers]
        if content:
            lines.append(b"content-length: %d" % len(content))
        async with self.server.peer() as peer:
            await peer.send(b"\r\n".join([*lines, b"", content]))
            return await peer.answer(has_body=method != "HEAD")

    async def embed(self, *headers: bytes, path: str = "/v1/embeddings", **body: Any) -> Answer:
        """One call; the key is among ``headers``."""
        return await self.raw("POST", path, *headers, body={"model": self.model, "input": "hello"} | body)

    @property
    def bearer(self) -> bytes:
        return f"authorization: Bearer {self.key}".encode()


async def ready(context: RouterContext) -> None:
    """Wait until ``/ready`` would say so."""
    assert context.projection.redis is not None
    assert await context.projection.redis.wait_connected(20)
    assert await context.generation.ready(20)


@asynccontextmanager
async def served(
    settings: Settings, made: Credentials, clock: Clock | None = None, **options: Any
) -> AsyncIterator[ServedApi]:
    """The API of a process on a machine with that clock; ``options`` are those of :func:`router.api.app.create_app`."""
    async with process(settings, "serve", clock) as context:
        await ready(context)
        exchanges: list[Exchange] = []
        app = create_app(context, record=exchanges.append, metrics=lambda: b"", **options)
        async with (
            listening(app, exchanges) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=20) as client,
        ):
            yield ServedApi(context, server, client, made)
