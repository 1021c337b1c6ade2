"""Calls the admin API for `gigarouter admin`: in this process on the machine, or at ``--url`` with an operator's key.

Both speak the same HTTP to the same operations, so that neither can do what the other cannot. In process nothing but
PostgreSQL has to run, and the operator is whoever is logged in (``cli:<user>``).
"""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx
import msgspec

from gigarouter import settings
from gigarouter.local_admin import local_app
from gigarouter.schema import require_migrated
from store.faults import CannotStart
from store.ids import new_id

TIMEOUT_S: Final = 600.0
IN_PROCESS: Final = "http://in-process"
# Every admin port has it, for anyone.
ADMIN_DOCUMENT: Final = "/admin/openapi.json"
_PLACE: Final = re.compile(r"{(\w+)(?::path)?}")


class Call(msgspec.Struct, frozen=True):
    """One call of an operation. ``path`` has places for ``path_values``; an edit says which version was read.

    ``accept`` is the type of the answer that is wanted, where the operation has several; ``save_to`` is the file that
    it becomes, where it is one.
    """

    method: str
    path: str
    path_values: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    body: Mapping[str, Any] | None = None
    edits: bool = False
    writes: bool = False
    idempotency_key: str | None = None
    accept: str | None = None
    save_to: Path | None = None

    @property
    def target(self) -> str:
        """The path with its values, each escaped but for the slash in a model's id."""
        return _PLACE.sub(lambda place: quote(self.path_values[place[1]], safe="/"), self.path)


class Reply(msgspec.Struct, frozen=True):
    """What came back; ``answer`` is the JSON, or the text where it is none."""

    status: int
    answer: Any
    retry_after_s: float | None = None

    @property
    def is_error(self) -> bool:
        """Whether the operation was refused or failed."""
        return self.status >= 400


class Client(Protocol):
    """Sends calls to the admin API."""

    def send(self, call: Call) -> Reply:
        """One answer. Raises CannotStart where nobody answers."""
        ...


class LocalClient:
    """The API in this process, as the local operator."""

    def send(self, call: Call) -> Reply:
        """See :class:`Client`. An edit needs no version here."""
        return asyncio.run(self._send(call))

    async def _send(self, call: Call) -> Reply:
        loaded = settings.load_local()
        await require_migrated(loaded.require_database_url())
        async with local_app(loaded) as app:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url=IN_PROCESS, timeout=TIMEOUT_S) as http:
                return await _exchange(http, call)


class RemoteClient:
    """The API at an address, by an operator's key."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._key = key

    def send(self, call: Call) -> Reply:
        """See :class:`Client`. An edit reads the version first, and is refused where another one came between."""
        return asyncio.run(self._send(call))

    async def _send(self, call: Call) -> Reply:
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        if call.writes and call.idempotency_key is None:
            call = msgspec.structs.replace(call, idempotency_key=str(new_id()))
        try:
            async with httpx.AsyncClient(base_url=self._url, headers=headers, timeout=TIMEOUT_S) as http:
                if not call.edits:
                    return await self._checked(http, await self._exchange(http, call))
                read = await http.get(call.target)
                if read.status_code != 200:
                    return await self._checked(http, _reply(read))
                if "etag" not in read.headers:
                    raise CannotStart(f"What {self._url} answers has no ETag: is this the address of the API itself?")
                return await self._exchange(http, call, {"if-match": read.headers["etag"]})
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise CannotStart(f"{self._url} does not answer: {str(fault) or type(fault).__name__}.") from fault

    async def _exchange(self, http: httpx.AsyncClient, call: Call, headers: Mapping[str, str] | None = None) -> Reply:
        """One answer; a write whose answer is lost is sent once more, which its Idempotency-Key makes harmless."""
        try:
            return await _exchange(http, call, headers)
        except (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError):
            if call.idempotency_key is None:
                raise
        try:
            return await _exchange(http, call, headers)
        except httpx.TransportError as fault:
            raise CannotStart(
                f"{self._url} gave no answer, but may have done it: type the same with "
                f"--idempotency-key {call.idempotency_key}, which has its effect once."
            ) from fault

    async def _checked(self, http: httpx.AsyncClient, reply: Reply) -> Reply:
        """The reply; a 404 only where the admin API is, since nothing is found where customers call."""
        if reply.status == 404 and (await http.get(ADMIN_DOCUMENT)).status_code == 404:
            raise CannotStart(
                f"{self._url} has no /admin, which listens on a port of its own: name that of the server's "
                "GIGAROUTER_ADMIN_HOST and GIGAROUTER_ADMIN_PORT, not where customers call."
            )
        return reply


async def _exchange(http: httpx.AsyncClient, call: Call, headers: Mapping[str, str] | None = None) -> Reply:
    sent = dict(headers or {})
    if call.idempotency_key is not None:
        sent["idempotency-key"] = call.idempotency_key
    if call.accept is not None:
        sent["accept"] = call.accept
    content = None
    if call.body is not None:
        content, sent["content-type"] = msgspec.json.encode(call.body), "application/json"
    if call.save_to is not None:
        return await _saved(http, call, call.save_to, sent)
    return _reply(await http.request(call.method, call.target, params=dict(call.query), content=content, headers=sent))


async def _saved(http: httpx.AsyncClient, call: Call, path: Path, headers: Mapping[str, str]) -> Reply:
    """Write the answer into a file, which has its name when it is whole."""
    async with http.stream(call.method, call.target, params=dict(call.query), headers=headers) as response:
        if response.is_error:
            await response.aread()
            return _reply(response)
        part, size = path.with_name(f"{path.name}.part"), 0
        try:
            with part.open("wb") as file:
                async for piece in response.aiter_bytes():
                    size += await asyncio.to_thread(file.write, piece)
            part.replace(path)
        except OSError as fault:
            raise CannotStart(f"{path} cannot be written: {fault.strerror}.") from fault
        return Reply(response.status_code, {"file": str(path), "bytes": size})


def _reply(response: httpx.Response) -> Reply:
    try:
        answer = msgspec.json.decode(response.content) if response.content else None
    except msgspec.DecodeError:
        answer = response.text
    wait_s = response.headers.get("retry-after")
    return Reply(response.status_code, answer, float(wait_s) if wait_s and wait_s.isdecimal() else None)
