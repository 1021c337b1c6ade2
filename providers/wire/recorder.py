"""Records the exchanges of an operator's test: what was called, and what came back. Without a test nothing is recorded.

The recorder is found in a context variable, so that customers' calls, which share a provider's connections with the
test, are not recorded and pay one look-up.
"""

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from providers.wire.http1 import Answer

EXCHANGES_MAX: Final = 64
BODY_BYTES_MAX: Final = 64 * 1024
# Headers that hold nothing of an operator's; whatever another one holds is taken for a secret.
_OPEN_HEADERS: Final = frozenset(
    {"host", "user-agent", "accept", "accept-encoding", "content-type", "content-length", "x-amz-content-sha256"}
)
_FORM: Final = "application/x-www-form-urlencoded"
# A scheme's name stands before a credential, and is none.
_SCHEME: Final = re.compile(r"[A-Za-z0-9-]+ +")


class Exchange(msgspec.Struct, frozen=True):
    """One request and its answer; ``status`` is None where there was none.

    ``secrets`` are the credentials that were sent, as they were sent. ``is_for_token``: a token was asked for, so that
    the answer of a success is a credential itself.
    """

    method: str
    url: str
    secrets: tuple[str, ...] = ()
    is_for_token: bool = False
    status: int | None = None
    headers: dict[bytes, bytes] = {}
    body: bytes = b""


Exchanges = deque[Exchange]
RECORDER: ContextVar[Exchanges | None] = ContextVar("recorder", default=None)


@contextmanager
def recording() -> Iterator[Exchanges]:
    """Record the exchanges of this task, and of the tasks that it starts, the newest last."""
    exchanges: Exchanges = deque(maxlen=EXCHANGES_MAX)
    token = RECORDER.set(exchanges)
    try:
        yield exchanges
    finally:
        RECORDER.reset(token)


def record_exchange(exchanges: Exchanges, origin: str, request: bytes, answer: Answer | None) -> None:
    """Record one exchange; ``origin`` is scheme, host and port, ``request`` the whole request as it was sent."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    is_for_token = headers.get("content-type", "").startswith(_FORM)
    secrets = [value for name, value in headers.items() if name not in _OPEN_HEADERS]
    secrets += [value for _, value in parse_qsl(target.partition("?")[2])]
    if is_for_token:
        secrets += [value for _, value in parse_qsl(body.decode("latin-1"))]
    exchange = Exchange(method, origin + target, tuple(_without_schemes(secrets)), is_for_token)
    if answer is not None:
        kept = bytes(memoryview(answer.body)[:BODY_BYTES_MAX])
        exchange = msgspec.structs.replace(exchange, status=answer.status, headers=answer.headers, body=kept)
    exchanges.append(exchange)


def _without_schemes(values: list[str]) -> Iterator[str]:
    """What is secret in each value: of "Bearer x" it is x, of a signature each of its parts that is long enough."""
    for value in values:
        secret = _SCHEME.sub("", value, count=1) if _SCHEME.match(value) else value
        yield secret
        yield from (part for part in re.split(r"[\s,;=]+", secret) if len(part) >= 16)
