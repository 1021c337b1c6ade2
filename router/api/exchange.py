"""Holds one HTTP request and its outcome: the guard makes it, the operation completes it, log and metrics read it."""

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any

from router.changes.audit import Actor
from router.errors import IdempotencyKeyInvalid, KeyInUrl, KeyUnknown, Refusal
from router.identity.operators import Operator
from router.identity.principals import PersonPrincipal, Principal
from router.networks import Network, client_address
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
    rb"(?i)(?:^|&)(?:(?:x-)?api[-_]?key|key|access[-_]token|authorization)=|gr_(?:live|test|ops|mgmt)_"
)
# Where usage is filtered by a key's id or name.
_KEY_IN_ADMIN_QUERY = re.compile(
    rb"(?i)(?:^|&)(?:(?:x-)?api[-_]?key|access[-_]token|authorization)=|gr_(?:live|test|ops|mgmt)_"
)
# Every header that is read here.
_HEADERS_READ = frozenset(
    b"authorization x-api-key api-key idempotency-key content-length content-encoding x-request-id x-client-request-id "
    b"x-forwarded-for forwarded origin accept-encoding x-tier prefer user-agent".split()
)
_BEARER = "Bearer "
_BLANKS = b" \t"
TWO_KEYS = "Incorrect API key provided: more than one Authorization header came. Send one."
TWO_IDEMPOTENCY_KEYS = "More than one Idempotency-Key came. Send one."
_VERSION = (b"openai-version", b"2020-10-01")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")


def canonical_credentials(value: bytes) -> str:
    """The value of ``Authorization``, a Bearer scheme in our case and one space after it (RFC 9110 §11.4)."""
    text = value.decode("latin-1")
    if text.startswith(_BEARER) and value[7:8] not in _BLANKS:
        return text
    scheme, _, rest = text.replace("\t", " ").partition(" ")
    token = rest.strip(" ")
    return _BEARER + token if scheme.lower() == "bearer" and token else text


def never_gone() -> bool:
    """The answer where the server cannot tell whether a client has hung up."""
    return False


class Exchange:
    """One request at the HTTP edge. The headers are read once, here; the steps that follow fill the other fields."""

    __slots__ = (
        "accept_encoding",
        "actor",
        "api_key",
        "applied_headers",
        "authorization",
        "began",
        "body",
        "call_headers",
        "client_gone",
        "client_request_id",
        "content_encoding",
        "content_length",
        "cors_headers",
        "fault",
        "forwarded",
        "forwarded_for",
        "holds_secret",
        "idempotency_key",
        "method",
        "now",
        "operation",
        "operator",
        "origin",
        "path",
        "peer",
        "person",
        "principal",
        "proxies",
        "query",
        "refusal",
        "request_id",
        "status",
        "summary",
        "trace",
        "user_agent",
    )

    def __init__(self, scope: Scope, now: datetime, proxies: Sequence[Network] | None = None) -> None:
        self.began = perf_counter()
        self.now = now
        self.request_id = RequestId(new_id(now))
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        # The path as the operation is declared: what logs and metrics may say without growing.
        self.operation = UNMATCHED
        self.query: bytes = scope["query_string"]
        self.client_gone: Callable[[], bool] = scope.get(CLIENT_GONE, never_gone)
        # As ``Bearer <key>``, whichever header the key came in and however it was spaced.
        self.authorization: str | None = None
        self.api_key: str | None = None
        # Why the headers cannot be taken as they are; raised by :meth:`check_credentials`.
        self.fault: Refusal | None = None
        self.idempotency_key: str | None = None
        self.content_length: bytes | None = None
        self.content_encoding = b""
        self.accept_encoding = b""
        # Whether the answer shows something that no other answer does: then it is never compressed.
        self.holds_secret = False
        self.client_request_id: bytes | None = None
        self.forwarded = False
        self.forwarded_for = b""
        # Whose X-Forwarded-For is believed (:func:`router.networks.client_address`).
        self.proxies = proxies
        # Who is connected, by address: a client, or the last proxy before us.
        self.peer: str | None = client[0] if (client := scope.get("client")) else None
        self.user_agent = b""
        # The page that a browser calls for, and what lets it read the answer (:mod:`router.api.server.cors`).
        self.origin: bytes | None = None
        self.cors_headers: list[tuple[bytes, bytes]] = []
        # Headers by which a call asks for more than its body does (:mod:`router.api.public.call_headers`).
        self.call_headers: tuple[tuple[bytes, bytes], ...] = ()
        # Response headers that say which of them were applied; errors carry them too.
        self.applied_headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        # Who acts for an account: a key, a management key, or a member whom an in-process caller has put here.
        self.principal: Principal | None = None
        # Who acts for themselves, in no account: beside a principal, for the operations about a person.
        self.person: PersonPrincipal | None = None
        self.operator: Operator | None = None
        # Who changes things, as the audit log names them: a principal, an operator, or `cli:<user>` on the machine.
        self.actor: Actor | None = None
        self.summary: CallSummary | None = None
        self.refusal: Refusal | None = None
        self.status = 0
        self.trace: Trace | None = None
        for name, value in scope["headers"]:
            if name in _HEADERS_READ:
                self._read_header(name, value)
        # A proxy that wants Basic credentials leaves them in Authorization; the key then comes in a header of its own.
        if self.api_key and not (self.authorization or "").startswith(_BEARER):
            self.authorization = _BEARER + self.api_key

    def _read_header(self, name: bytes, value: bytes) -> None:
        match name:
            case b"content-length":
                self.content_length = value
            case b"content-encoding":
                self.content_encoding = b",".join((self.content_encoding, value)).lstrip(b",")
            case b"accept-encoding":
                self.accept_encoding = b",".join((self.accept_encoding, value)).lstrip(b",")
            case b"x-request-id" | b"x-client-request-id":
                if _SAFE_ID.fullmatch(value):
                    self.client_request_id = value
            case b"x-forwarded-for" | b"forwarded":
                self.forwarded = True
                if name == b"x-forwarded-for":
                    self.forwarded_for = b",".join((self.forwarded_for, value)).lstrip(b",")
            case b"user-agent":
                self.user_agent = value
            case b"origin":
                self.origin = value
            case b"x-tier" | b"prefer":
                self.call_headers = (*self.call_headers, (name, value))
            case _:
                self._read_credential(name, value)

    def _read_credential(self, name: bytes, value: bytes) -> None:
        match name:
            case b"authorization":
                if self.authorization is not None:
                    self.fault = KeyUnknown(TWO_KEYS)
                self.authorization = canonical_credentials(value)
            case b"idempotency-key":
                key = value.decode("latin-1")
                if self.idempotency_key not in (None, key):
                    self.fault = IdempotencyKeyInvalid(TWO_IDEMPOTENCY_KEYS, param="Idempotency-Key")
                self.idempotency_key = key
            case _:
                key = value.decode("latin-1")
                # Two that differ are one value with a comma (RFC 9110 §5.2), which is nobody's key.
                self.api_key = key if self.api_key in (None, key) else f"{self.api_key}, {key}"

    def check_credentials(self) -> None:
        """Raise KeyInUrl for a key where logs would keep it, KeyUnknown for two keys, and for two Idempotency-Keys."""
        filters = self.path == "/v1/usage" or self.path.startswith("/admin/v1/")
        pattern = _KEY_IN_ADMIN_QUERY if filters else _KEY_IN_QUERY
        if self.query and pattern.search(self.query):
            raise KeyInUrl(
                "A key must not be in the URL, where logs and histories keep it: send it as 'Authorization: Bearer …'. "
                "If this one is real, revoke it and create another."
            )
        if self.fault is not None:
            raise self.fault

    @property
    def caller(self) -> Caller | None:
        """The API key, where the principal is one."""
        return self.principal if isinstance(self.principal, Caller) else None

    def client_address(self) -> str | None:
        """The client's address as far as we know it: the peer's, or what a proxy that we believe says of it."""
        if not self.forwarded_for:
            return self.peer
        return client_address(self.peer, self.forwarded_for.decode("latin-1"), self.proxies)

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
        if self.cors_headers:
            headers += self.cors_headers
        if self.client_request_id is not None:
            headers.append((b"x-client-request-id", self.client_request_id))
        return headers


async def deliver(answer: Answer, send: Send) -> None:
    """Sends an answer, one piece per turn of the event loop."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    if isinstance(answer.body, tuple | list) and len(answer.body) == 1:
        await send({"type": "http.response.body", "body": answer.body[0]})
        return
    # The last piece ends the answer: a client that has it all may hang up, and has been answered.
    before: bytes | None = None
    for piece in answer.body:
        if before is not None:
            await send({"type": "http.response.body", "body": before, "more_body": True})
        before = piece
    await send({"type": "http.response.body", "body": before or b""})
