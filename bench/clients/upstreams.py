"""Outgoing HTTP: the body of an embeddings call to the stub upstream, its whole answer under a cap of bytes.

Each contender does what our pool does as far as its library has a place for it: no redirects, no cookies, no proxy, no
decompression, a deadline, a cap on the body, a judged address. httpx and niquests have no such place for the address.
"""

import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from bench.clients.rounds import Call, NotInstalled
from bench.targets import request_body
from providers.wire import Pool, networks, parse_origin, request
from providers.wire.guard import refusal

MAX_BODY = 4 * 1024 * 1024
DEADLINE_S = 30.0
CONNECTIONS = 256
LOOPBACK = networks(["127.0.0.0/8"])
HEADERS = {"Authorization": "Bearer sk-bench-0123456789abcdef", "Content-Type": "application/json"}
PLAIN = {**HEADERS, "User-Agent": "gigarouter", "Accept-Encoding": "identity"}
BODY = msgspec.json.encode(request_body("bench", "base64"))


def installed(package: str) -> str:
    """The version of a distribution. Raises :class:`NotInstalled`."""
    try:
        return version(package)
    except PackageNotFoundError as fault:
        raise NotInstalled(f"it is not installed: pip install {package}") from fault


def _expect(status: int, body: Any) -> None:
    assert status == 200, f"the stub answered {status}"
    assert len(body) > 8_000, f"the stub answered {len(body)} bytes"


def _judge(address: str) -> None:
    if why := refusal(address, LOOPBACK):
        raise OSError(f"address {address} refused: {why}")


class Ours:
    """``providers/wire``."""

    name = "ours (providers/wire)"

    def version(self) -> str:
        return "httptools " + version("httptools")

    @asynccontextmanager
    async def opened(self, target: str) -> AsyncIterator[Call]:
        pool = Pool()
        origin = parse_origin(target, LOOPBACK)
        channel = pool.channel(origin)
        head = origin.head("/embeddings", HEADERS)

        async def call(_: int) -> None:
            answer = await channel.exchange(request(head, BODY), DEADLINE_S, MAX_BODY)
            _expect(answer.status, answer.body)

        yield call
        await pool.close()


class AioHTTP:
    """aiohttp: the name's addresses are judged by a resolver, the socket's by its factory."""

    name = "aiohttp"

    def version(self) -> str:
        return installed("aiohttp")

    @asynccontextmanager
    async def opened(self, target: str) -> AsyncIterator[Call]:
        aiohttp = import_module("aiohttp")

        class Judged(aiohttp.ThreadedResolver):  # type: ignore[name-defined,misc]
            async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> Any:
                found = await super().resolve(host, port, family)
                for each in found:
                    _judge(each["host"])
                return found

        def judged_socket(address: Any) -> socket.socket:
            _judge(address[4][0])
            return socket.socket(*address[:3])

        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS, resolver=Judged(), socket_factory=judged_socket, keepalive_timeout=30
        )
        timeout = aiohttp.ClientTimeout(total=DEADLINE_S, connect=3)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as session:

            async def call(_: int) -> None:
                async with session.post(
                    target + "/embeddings", data=BODY, headers=PLAIN, allow_redirects=False
                ) as answer:
                    assert (answer.content_length or 0) <= MAX_BODY
                    _expect(answer.status, await answer.read())

            yield call


class HTTPX:
    """httpx, or its successor httpx2, which has the same calls."""

    def __init__(self, name: str) -> None:
        self.name = name

    def version(self) -> str:
        return installed(self.name)

    @asynccontextmanager
    async def opened(self, target: str) -> AsyncIterator[Call]:
        httpx = import_module(self.name)
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=30)
        timeout = httpx.Timeout(DEADLINE_S, connect=3)
        async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client:

            async def call(_: int) -> None:
                async with client.stream("POST", target + "/embeddings", content=BODY, headers=PLAIN) as answer:
                    assert int(answer.headers.get("content-length", 0)) <= MAX_BODY
                    _expect(answer.status_code, await answer.aread())

            yield call


class Niquests:
    """niquests on asyncio; it reads the body whole, without a cap."""

    name = "niquests"

    def version(self) -> str:
        return installed("niquests")

    @asynccontextmanager
    async def opened(self, target: str) -> AsyncIterator[Call]:
        niquests = import_module("niquests")
        async with niquests.AsyncSession(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS) as session:
            session.trust_env = False

            async def call(_: int) -> None:
                answer = await session.post(
                    target + "/embeddings", data=BODY, headers=PLAIN, timeout=DEADLINE_S, allow_redirects=False
                )
                _expect(answer.status_code, answer.content)

            yield call


class PyReqwest:
    """pyreqwest (Rust's reqwest): ``streamed`` looks at the length before it reads, the other reads it whole.

    Its one place for an address is a client per judged address (``ClientBuilder.resolve``).
    """

    def __init__(self, *, streamed: bool, threads: bool = False) -> None:
        self.streamed = streamed
        self.threads = threads
        self.name = "pyreqwest" + (", capped" if streamed else "")

    def version(self) -> str:
        return installed("pyreqwest")

    @asynccontextmanager
    async def opened(self, target: str) -> AsyncIterator[Call]:
        builder = import_module("pyreqwest.client").ClientBuilder()
        host = str(ipaddress.ip_address("127.0.0.1"))
        _judge(host)
        builder = (
            builder.no_proxy()
            .follow_redirects(enable=False)
            .http1_only()
            .tcp_nodelay(enabled=True)
            .max_connections(CONNECTIONS)
            .pool_max_idle_per_host(CONNECTIONS)
            .pool_idle_timeout(timedelta(seconds=30))
            .timeout(timedelta(seconds=DEADLINE_S))
            .connect_timeout(timedelta(seconds=3))
        )
        async with builder.build() as client:

            async def whole(_: int) -> None:
                answer = await client.post(target + "/embeddings").headers(PLAIN).body_bytes(BODY).build().send()
                _expect(answer.status, await answer.bytes())

            async def capped(_: int) -> None:
                built = client.post(target + "/embeddings").headers(PLAIN).body_bytes(BODY).build_streamed()
                async with built as answer:
                    assert int(answer.get_header("content-length") or 0) <= MAX_BODY
                    _expect(answer.status, await answer.bytes())

            yield capped if self.streamed else whole


CONTENDERS = (
    Ours(),
    AioHTTP(),
    PyReqwest(streamed=False),
    PyReqwest(streamed=True),
    Niquests(),
    HTTPX("httpx"),
    HTTPX("httpx2"),
)
