"""Lets pages of the origins that an operator names call the API from a browser (the Fetch standard's CORS protocol).

Off where none is named. Operators' operations and metrics are never let out, whoever asks.
"""

import re
from collections.abc import Collection, Iterable

import msgspec

ANY = "*"
# Whoever administers does so by keys that belong in no page.
NEVER = ("/admin", "/metrics")
# What a page may read of an answer: all that we say in headers, and no more.
EXPOSED = (
    "etag, idempotency-replayed, link, location, openai-model, openai-processing-ms, openai-version, "
    "preference-applied, retry-after, retry-after-ms, server-timing, x-client-request-id, x-gigarouter-attempts, "
    "x-gigarouter-attribution, x-gigarouter-cost, x-gigarouter-lane, x-gigarouter-model, x-gigarouter-price-id, "
    "x-gigarouter-provider, x-gigarouter-second-person, x-gigarouter-space, x-gigarouter-tokenizer, "
    "x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, "
    "x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens, x-request-id, x-should-retry"
)
MAX_AGE_S = 3600

_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{1,2048}")
_METHOD = re.compile(rb"[A-Z]{1,16}")

Headers = list[tuple[bytes, bytes]]


class CorsPolicy(msgspec.Struct, frozen=True):
    """Whose pages may call: origins such as ``https://app.example``, or ``*`` for every page."""

    origins: frozenset[str]

    @classmethod
    def of(cls, origins: Collection[str]) -> "CorsPolicy | None":
        """The policy; None where no origin is named."""
        return cls(frozenset(origins)) if origins else None

    def headers(self, origin: bytes | None, path: str) -> Headers:
        """What lets a page of ``origin`` read the answer at ``path``; nothing where it may not."""
        if origin is None or path.startswith(NEVER):
            return []
        if ANY in self.origins:
            allowed = ANY
        elif origin.decode("latin-1") in self.origins:
            allowed = origin.decode("latin-1")
        else:
            return []
        return [
            (b"access-control-allow-origin", allowed.encode("latin-1")),
            (b"access-control-expose-headers", EXPOSED.encode()),
        ]


def preflight_headers(request: Iterable[tuple[bytes, bytes]], methods: Collection[str]) -> Headers:
    """What a preflight is answered beside the origin; nothing where the OPTIONS is none.

    A path that takes no method is answered as if it took the one that is named: the page then reads our 404.
    """
    fields = dict(request)
    method = fields.get(b"access-control-request-method")
    if method is None or not _METHOD.fullmatch(method):
        return []
    headers = [
        (b"access-control-allow-methods", ", ".join(methods).encode() or method),
        (b"access-control-max-age", b"%d" % MAX_AGE_S),
    ]
    names = fields.get(b"access-control-request-headers", b"")
    if _NAMES.fullmatch(names):
        headers.append((b"access-control-allow-headers", names))
    return headers
