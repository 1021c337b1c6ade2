"""What litellm's HTTP clients send through: our own wire, so that its guard, bounds and deadlines hold there too.

litellm keeps clients for the whole process and follows redirects with them, hence the egress of the call in progress
is found in a context variable, and without one nothing goes out. What does not go through a client of httpx's (AWS'
and Google's libraries have their own) meets :func:`wall`. Knows httpx's two transport protocols by their shape only;
httpx is litellm's dependency, not ours.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol, Self

from providers.json_vectors import cut
from providers.litellm.placeholders import StandIns
from providers.litellm.vendor_usage import billed_tokens
from providers.outcomes import Broken, Failure
from providers.statuses import failure
from providers.wire import Answer, Channel, Networks, Origin, Pool, parse_origin, request

CURRENT: ContextVar["Egress | None"] = ContextVar("egress", default=None)

# Ways out of a process that Python itself announces: none of them is litellm's to take during a call.
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
# All that goes out of what litellm and the SDKs under it would send: OpenAI's tells every vendor the operating system,
# the machine and the version of Python. The rest our wire says itself.
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
    """As much of httpx.URL as is used."""

    scheme: str
    host: str
    port: int | None
    raw_path: bytes


class HttpxRequest(Protocol):
    """As much of httpx.Request as is used."""

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
    """As much of httpx.Headers as is used."""

    def items(self) -> list[tuple[str, str]]:
        """Names in lower case."""
        ...


class Channels:
    """One provider's channels, by origin: litellm decides where it connects, we decide whether.

    ``places`` are the only ones where given: the credential is for them alone.
    """

    def __init__(self, pool: Pool, allowed: Networks, places: tuple[Origin, ...] = ()) -> None:
        self._pool = pool
        self._allowed = allowed
        self._places = places
        self._channels: dict[tuple[str, str, int | None], Channel] = {}

    def to(self, url: HttpxUrl) -> Channel:
        """Raises Broken for an origin that our wire would not take as a base URL."""
        key = (url.scheme, url.host, url.port)
        channel = self._channels.get(key)
        if channel is None:
            if len(self._channels) >= _MAX_ORIGINS:
                raise Broken(detail="litellm would connect to too many hosts")
            origin = self._origin(url)
            if self._places and not any(origin.is_same_place(place) for place in self._places):
                raise Broken(detail="litellm would connect to another place than the base URL")
            channel = self._channels[key] = self._pool.channel(origin)
        return channel

    def close(self) -> None:
        """Close them all."""
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
    """One call's way out: made and run on the loop of who calls, used from litellm's threads.

    It remembers what happened, since litellm's exceptions lose half of it.
    """

    def __init__(
        self, channels: Channels, deadline_at: float, max_body: int, stand_ins: StandIns | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.failure: Failure | None = None
        self.walled: Failure | None = None
        self.arrays: list[memoryview] = []
        self.tokens: int | None = None
        # What Google's bridge is given in place of a token that it would fetch by itself.
        self.bearer: str | None = None
        self._stand_ins = stand_ins
        self._channels = channels
        self._deadline_at = deadline_at
        self._max_body = max_body

    async def send(self, method: str, url: HttpxUrl, headers: list[tuple[str, str]], body: bytes, now: float) -> Answer:
        """Raises and remembers the failure; after one, litellm's second tries and followed redirects end here."""
        # This is our own way out, and a task of its own with a context of its own.
        CURRENT.set(None)
        if self.failure is not None:
            raise self.failure
        try:
            sent = body if self._stand_ins is None else self._stand_ins.put_back(body)
            answer = await self._exchange(method, url, headers, sent)
            # litellm would take a second for what is a megabyte of numbers, much of it with Python's lock held.
            body_without, arrays = cut(answer.body, len(self.arrays))
            self.arrays += arrays
            self._count(answer, body_without)
        except Failure as error:
            self.failure = error
            raise
        if answer.status >= 300:
            self.failure = failure(answer.status, answer.headers, answer.body, now)
        return Answer(answer.status, answer.headers, body_without)

    def _count(self, answer: Answer, body: bytes) -> None:
        """Some vendors take one input per request, and bill each."""
        tokens = billed_tokens(answer.headers, body) if answer.status < 300 else None
        if tokens is not None:
            self.tokens = tokens + (self.tokens or 0)

    async def _exchange(self, method: str, url: HttpxUrl, headers: list[tuple[str, str]], body: bytes) -> Answer:
        channel = self._channels.to(url)
        kept = {name.title(): value for name, value in headers if name.lower() in _FORWARDED}
        try:
            head = channel.origin.head(url.raw_path.decode("ascii"), kept, method)
        except ValueError as error:
            raise Broken(detail=f"litellm made a header that cannot be sent: {error}") from error
        return await channel.exchange(request(head, body), self._deadline_at - self.loop.time(), self._max_body)


class Transport:
    """httpx's asynchronous and synchronous transport in one, sending through the current call's egress."""

    def __init__(self, response: Callable[..., object], clock: Callable[[], float]) -> None:
        """``response`` is httpx.Response, ``clock`` gives Unix time."""
        self._response = response
        self._clock = clock

    async def handle_async_request(self, request: HttpxRequest) -> object:
        """As httpx.AsyncBaseTransport."""
        egress = _current()
        body = await request.aread()
        sending = egress.send(request.method, request.url, request.headers.items(), body, self._clock())
        return self._httpx(await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(sending, egress.loop)))

    def handle_request(self, request: HttpxRequest) -> object:
        """As httpx.BaseTransport: litellm calls some vendors from a thread, which waits here for the loop."""
        egress = _current()
        sending = egress.send(request.method, request.url, request.headers.items(), request.read(), self._clock())
        return self._httpx(asyncio.run_coroutine_threadsafe(sending, egress.loop).result())

    async def aclose(self) -> None:
        """The connections are the provider's."""

    def close(self) -> None:
        """The connections are the provider's."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _httpx(self, answer: Answer) -> object:
        kept = {b"content-type", b"retry-after", b"retry-after-ms"}
        headers = [(name, value) for name, value in answer.headers.items() if name in kept]
        return self._response(answer.status, headers=headers, content=bytes(answer.body))


def google_token(
    _: object, credentials: object, project_id: str | None, custom_llm_provider: str
) -> tuple[str, str | None]:
    """As litellm's VertexBase: the token and the project of the call in progress; it sees no credential of ours."""
    if custom_llm_provider == "gemini":
        return "", ""
    bearer = _current().bearer
    if bearer is None:
        raise Broken(detail="litellm wanted a token of Google's that we have none for")
    return bearer, project_id


async def google_token_async(
    base: object, credentials: object, project_id: str | None, custom_llm_provider: str
) -> tuple[str, str | None]:
    """The same for its asynchronous way."""
    return google_token(base, credentials, project_id, custom_llm_provider)


def wall(event: str, _: tuple[object, ...]) -> None:
    """An audit hook of Python's: raises Broken when litellm, during a call, would go out in a way of its own."""
    if event in _WAYS_OUT and (egress := CURRENT.get()) is not None:
        egress.walled = Broken(detail=f"litellm would go around our wire: {event}")
        raise egress.walled


def _current() -> Egress:
    egress = CURRENT.get()
    if egress is None:
        raise Broken(detail="litellm wanted to connect outside of a call")
    return egress
