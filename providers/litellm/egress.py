"""Sends the requests of litellm's HTTP clients over our own wire, whose guard, bounds and deadlines hold for them.

litellm keeps clients for the whole process and follows redirects with them, hence the egress of the call in progress is
found in a context variable, and without one nothing is sent. Connections that do not go through a client of httpx's
(AWS' and Google's libraries have their own) are stopped by :func:`forbid_other_connections`. This module knows httpx's
two transport protocols by their shape only; httpx is litellm's dependency, not ours.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Protocol, Self

from providers.json_vectors import extract_arrays
from providers.litellm.placeholders import Placeholders
from providers.litellm.vendor_usage import billed_tokens
from providers.outcomes import Broken, Failure
from providers.statuses import failure
from providers.wire import Answer, Channel, Networks, Origin, Pool, parse_origin, request

CURRENT: ContextVar["Egress | None"] = ContextVar("egress", default=None)

# Ways out of a process that raise Python's audit events: litellm must take none of them during a call.
_WAYS_OUT = frozenset(
    {
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendto",
        "subprocess.Popen",
        "os.system",
        "os.posix_spawn",
    }
)
# A vendor's API and where its tokens come from: more origins than this is not one provider.
_MAX_ORIGINS = 8
# The headers that are forwarded of those that litellm and its SDKs set: OpenAI's SDK would send every vendor the
# operating system, the machine and the version of Python. Our wire sets the others itself.
_FORWARDED = frozenset(
    {
        "accept",
        "ai-resource-group",
        "api-key",
        "authorization",
        "content-type",
        "openai-organization",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
        "x-api-key",
        "x-goog-api-key",
        "x-goog-user-project",
        "x-snowflake-authorization-token-type",
    }
)


class HttpxUrl(Protocol):
    """What we use of httpx.URL."""

    scheme: str
    host: str
    port: int | None
    raw_path: bytes


class HttpxRequest(Protocol):
    """What we use of httpx.Request."""

    method: str
    url: HttpxUrl
    headers: "HttpxHeaders"

    def read(self) -> bytes:
        """The whole body."""
        ...

    async def aread(self) -> bytes:
        """The whole body."""
        ...


class HttpxHeaders(Protocol):
    """What we use of httpx.Headers."""

    def items(self) -> list[tuple[str, str]]:
        """Names in lower case."""
        ...


class Channels:
    """The channels of one provider, by origin: litellm decides where it connects, we decide whether.

    Where ``origins`` are given, the credential is for them alone, and no other origin is reached.
    """

    def __init__(self, pool: Pool, allowed: Networks, origins: tuple[Origin, ...] = ()) -> None:
        self._pool = pool
        self._allowed = allowed
        self._origins = origins
        self._channels: dict[tuple[str, str, int | None], Channel] = {}

    def to(self, url: HttpxUrl) -> Channel:
        """The channel for a URL. Raises Broken for an origin that our wire would not take as a base URL."""
        key = (url.scheme, url.host, url.port)
        channel = self._channels.get(key)
        if channel is None:
            if len(self._channels) >= _MAX_ORIGINS:
                raise Broken(detail="litellm would connect to too many hosts")
            origin = self._origin(url)
            if self._origins and not any(origin.is_same_origin(other) for other in self._origins):
                raise Broken(detail="litellm would connect to another place than the base URL")
            channel = self._channels[key] = self._pool.channel(origin)
        return channel

    def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            channel.close()

    def _origin(self, url: HttpxUrl) -> Origin:
        host = f"[{url.host}]" if ":" in url.host else url.host
        port = "" if url.port is None else f":{url.port}"
        try:
            return parse_origin(f"{url.scheme}://{host}{port}", self._allowed)
        except ValueError as error:
            raise Broken(detail=f"litellm would connect to a forbidden origin: {error}") from error


class Egress:
    """The way out of one call: made and run on the caller's event loop, used from litellm's threads.

    It keeps the first failure, since litellm's exceptions lose half of it.
    """

    def __init__(
        self,
        channels: Channels,
        deadline_at: float,
        max_body: int,
        placeholders: Placeholders | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``headers`` are an operator's own, which go with every request of the call."""
        self.loop = asyncio.get_running_loop()
        self.failure: Failure | None = None
        self.forbidden: Failure | None = None
        self.arrays: list[memoryview] = []
        self.tokens: int | None = None
        # Google's bridge gets this in place of a token that it would fetch by itself.
        self.bearer: str | None = None
        self._placeholders = placeholders
        self._channels = channels
        self._deadline_at = deadline_at
        self._max_body = max_body
        self._headers = headers

    async def send(self, method: str, url: HttpxUrl, headers: list[tuple[str, str]], body: bytes, now: float) -> Answer:
        """Send one request. Keeps and raises a failure; after one, litellm's retries and redirects fail here."""
        # This task is our own way out, so the audit hook must not stop it; its context is its own.
        CURRENT.set(None)
        if self.failure is not None:
            raise self.failure
        try:
            full_body = body if self._placeholders is None else self._placeholders.restore(body)
            answer = await self._exchange(method, url, headers, full_body)
            # litellm would take a second for what is a megabyte of numbers, much of it with Python's lock held.
            body_without, arrays = extract_arrays(answer.body, len(self.arrays))
            self.arrays += arrays
            self._count(answer, body_without)
        except Failure as error:
            self.failure = error
            raise
        if answer.status >= 300:
            self.failure = failure(answer.status, answer.headers, answer.body, now)
        return Answer(answer.status, answer.headers, body_without)

    def _count(self, answer: Answer, body: bytes) -> None:
        """Add the billed tokens of an answer: some vendors take one input per request, and bill each."""
        tokens = billed_tokens(answer.headers, body) if answer.status < 300 else None
        if tokens is not None:
            self.tokens = tokens + (self.tokens or 0)

    async def _exchange(self, method: str, url: HttpxUrl, headers: list[tuple[str, str]], body: bytes) -> Answer:
        channel = self._channels.to(url)
        forwarded = {name.title(): value for name, value in headers if name.lower() in _FORWARDED}
        try:
            # litellm's own go first: they are signed, or say who we are.
            ours = {name: value for name, value in self._headers.items() if name.title() not in forwarded}
            head = channel.origin.head(url.raw_path.decode("ascii"), {**ours, **forwarded}, method)
        except ValueError as error:
            raise Broken(detail=f"litellm made a header that cannot be sent: {error}") from error
        return await channel.exchange(request(head, body), self._deadline_at - self.loop.time(), self._max_body)


class Transport:
    """An asynchronous and synchronous transport for httpx, which sends through the current call's egress."""

    def __init__(self, response: Callable[..., object], clock: Callable[[], float]) -> None:
        """``response`` is httpx.Response, ``clock`` gives Unix time."""
        self._response = response
        self._clock = clock

    async def handle_async_request(self, request: HttpxRequest) -> object:
        """Send a request, as httpx.AsyncBaseTransport does."""
        egress = _current()
        body = await request.aread()
        sending = egress.send(request.method, request.url, request.headers.items(), body, self._clock())
        return self._httpx(await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(sending, egress.loop)))

    def handle_request(self, request: HttpxRequest) -> object:
        """Send a request, as httpx.BaseTransport does; a thread of litellm's waits here for the loop."""
        egress = _current()
        sending = egress.send(request.method, request.url, request.headers.items(), request.read(), self._clock())
        return self._httpx(asyncio.run_coroutine_threadsafe(sending, egress.loop).result())

    async def aclose(self) -> None:
        """Do nothing: the connections are the provider's."""

    def close(self) -> None:
        """Do nothing: the connections are the provider's."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _httpx(self, answer: Answer) -> object:
        passed = {b"content-type", b"retry-after", b"retry-after-ms"}
        headers = [(name, value) for name, value in answer.headers.items() if name in passed]
        return self._response(answer.status, headers=headers, content=bytes(answer.body))


def google_token(
    _: object, credentials: object, project_id: str | None, custom_llm_provider: str
) -> tuple[str, str | None]:
    """Replaces a method of litellm's VertexBase: the token and project of the call in progress, and no credential."""
    if custom_llm_provider == "gemini":
        return "", ""
    bearer = _current().bearer
    if bearer is None:
        raise Broken(detail="litellm wanted a token of Google's that we have none for")
    return bearer, project_id


async def google_token_async(
    base: object, credentials: object, project_id: str | None, custom_llm_provider: str
) -> tuple[str, str | None]:
    """Replaces its asynchronous method in the same way."""
    return google_token(base, credentials, project_id, custom_llm_provider)


def forbid_other_connections(event: str, _: tuple[object, ...]) -> None:
    """An audit hook of Python's: raises Broken where litellm, during a call, connects or starts a process by itself."""
    if event in _WAYS_OUT and (egress := CURRENT.get()) is not None:
        egress.forbidden = Broken(detail=f"litellm would go around our wire: {event}")
        raise egress.forbidden


def _current() -> Egress:
    egress = CURRENT.get()
    if egress is None:
        raise Broken(detail="litellm wanted to connect outside of a call")
    return egress
