"""Holds one HTTP request and its outcome: the guard makes it, the operation completes it, log and metrics read it."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from router.changes.audit import Actor
from router.errors import KeyInUrl, KeyUnknown, Refusal
from router.identity.operators import Operator
from router.values import Answer, Caller, CallSummary, Trace
from store.ids import RequestId, new_id, wire

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Operation = Callable[[Scope, Receive, Send], Awaitable[None]]

# Where an operation finds its exchange, and where the protocol says that the client has hung up or is too slow.
EXCHANGE = "gigarouter.exchange"
CLIENT_GONE = "gigarouter.client_gone"
TOO_SLOW = "gigarouter.too_slow"
UNMATCHED = "unmatched"

_SAFE_ID = re.compile(rb"[0-9A-Za-z._:-]{1,64}")
_KEY_IN_QUERY = re.compile(
    rb"(?i)(?:^|&)(?:(?:x-)?api[-_]?key|key|access[-_]token|authorization)=|gr_(?:live|test|ops)_"
)
# Where usage is filtered by a key's id or name.
_KEY_IN_ADMIN_QUERY = re.compile(
    rb"(?i)(?:^|&)(?:(?:x-)?api[-_]?key|access[-_]token|authorization)=|gr_(?:live|test|ops)_"
)
_VERSION = (b"openai-version", b"2020-10-01")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")


def never_gone() -> bool:
    """The answer where the server cannot tell whether a client has hung up."""
    return False


class Exchange:
    """One request at the HTTP edge. The headers are read once, here; the steps that follow fill the other fields."""

    __slots__ = (
        "actor",
        "applied_headers",
        "authorization",
        "authorizations",
        "began",
        "body",
        "call_headers",
        "caller",
        "client_gone",
        "client_request_id",
        "content_encoding",
        "content_length",
        "forwarded",
        "idempotency_key",
        "method",
        "now",
        "operation",
        "operator",
        "path",
        "query",
        "refusal",
        "request_id",
        "status",
        "summary",
        "trace",
    )

    def __init__(self, scope: Scope) -> None:
        self.began = perf_counter()
        self.now = datetime.now(UTC)
        self.request_id = RequestId(new_id())
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        # The path as the operation is declared: what logs and metrics may say without growing.
        self.operation = UNMATCHED
        self.query: bytes = scope["query_string"]
        self.client_gone: Callable[[], bool] = scope.get(CLIENT_GONE, never_gone)
        self.authorization: str | None = None
        self.authorizations = 0
        self.idempotency_key: str | None = None
        self.content_length: bytes | None = None
        self.content_encoding = b""
        self.client_request_id: bytes | None = None
        self.forwarded = False
        # Headers by which a call asks for more than its body does (:mod:`router.api.public.call_headers`).
        self.call_headers: tuple[tuple[bytes, bytes], ...] = ()
        # Response headers that say which of them were applied; errors carry them too.
        self.applied_headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.caller: Caller | None = None
        self.operator: Operator | None = None
        # Who administers, as the audit log names them: an operator, or `cli:<user>` on the machine.
        self.actor: Actor | None = None
        self.summary: CallSummary | None = None
        self.refusal: Refusal | None = None
        self.status = 0
        self.trace: Trace | None = None
        api_key: bytes | None = None
        for name, value in scope["headers"]:
            match name:
                case b"authorization":
                    self.authorization = value.decode("latin-1")
                    self.authorizations += 1
                case b"x-api-key":
                    api_key = value
                case b"idempotency-key":
                    self.idempotency_key = value.decode("latin-1")
                case b"content-length":
                    self.content_length = value
                case b"content-encoding":
                    self.content_encoding = value
                case b"x-request-id" | b"x-client-request-id":
                    if _SAFE_ID.fullmatch(value):
                        self.client_request_id = value
                case b"x-forwarded-for" | b"forwarded":
                    self.forwarded = True
                case b"x-tier" | b"prefer":
                    self.call_headers = (*self.call_headers, (name, value))
                case _:
                    pass
        if self.authorization is None and api_key:
            self.authorization = f"Bearer {api_key.decode('latin-1')}"

    def check_credentials(self) -> None:
        """Raise KeyInUrl for a key where logs would keep it, KeyUnknown for two Authorization headers."""
        filters = self.path == "/v1/usage" or self.path.startswith("/admin/v1/")
        pattern = _KEY_IN_ADMIN_QUERY if filters else _KEY_IN_QUERY
        if self.query and pattern.search(self.query):
            raise KeyInUrl(
                "A key must not be in the URL, where logs and histories keep it: send it as 'Authorization: Bearer …'. "
                "If this one is real, revoke it and create another."
            )
        if self.authorizations > 1:
            raise KeyUnknown("Incorrect API key provided: more than one Authorization header came. Send one.")

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the head of the request was read."""
        return (perf_counter() - self.began) * 1000

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that every response carries, error responses included."""
        headers = [
            (b"x-request-id", wire(RequestId, self.request_id).encode()),
            (b"openai-processing-ms", b"%d" % self.elapsed_ms),
            _VERSION,
            _NO_SNIFF,
        ]
        if self.client_request_id is not None:
            headers.append((b"x-client-request-id", self.client_request_id))
        return headers


async def deliver(answer: Answer, send: Send) -> None:
    """Sends an answer, one piece per turn of the event loop."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    if isinstance(answer.body, tuple | list) and len(answer.body) == 1:
        await send({"type": "http.response.body", "body": answer.body[0]})
        return
    for piece in answer.body:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
