"""Speaks to OAuth clients as RFC 6749 wants it: a form as the body, and errors whose ``error`` is a word.

Such a client sends a form and reads ``{"error": "authorization_pending", "error_description": …}`` (RFC 8628 §3.5);
whoever sends JSON gets the envelope that all other operations have. Which it is, the request's content type says.
"""

from collections.abc import Collection
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Scope

from router.errors import DeviceLoginRefused, InvalidRequest, Refusal
from router.values import Answer
from store.ids import RequestId, wire

FORM = b"application/x-www-form-urlencoded"
_BY_PARAM = {"scope": "invalid_scope", "grant_type": "unsupported_grant_type"}
# RFC 6749 §5.2: what error_description must not have.
_NO_TEXT = str.maketrans({'"': "'", "\\": "/"})


def is_form(scope: Scope) -> bool:
    """Whether a request's body is a form."""
    media = dict(scope["headers"]).get(b"content-type", b"")
    return bool(media.partition(b";")[0].strip().lower() == FORM)


def json_of_form(body: bytes, names: Collection[str]) -> bytes:
    """A form as the JSON object that an operation reads; fields that are none of ``names`` are ignored (§3.2).

    Raises ``InvalidRequest`` for a field that is there twice, and for what is no form.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), errors="strict")
    except ValueError:
        raise InvalidRequest("The body is no form.") from None
    known = [(name, value) for name, value in pairs if name in names]
    if len(dict(known)) < len(known):
        raise InvalidRequest("A field of a form is there once.")
    return msgspec.json.encode(dict(known))


def oauth_error(refusal: Refusal, answer: Answer, request_id: RequestId) -> Answer:
    """The same answer with an OAuth client's body."""
    match refusal:
        case DeviceLoginRefused():
            error = refusal.code
        case _ if answer.status >= 500 or answer.status == 429:
            error = "temporarily_unavailable"
        case _:
            error = _BY_PARAM.get(refusal.param or "", "invalid_request")
    described = refusal.message.translate(_NO_TEXT).encode("ascii", "replace").decode()
    found = {"error": error, "error_description": described, "request_id": wire(RequestId, request_id)}
    body = msgspec.json.encode(found)
    headers = [(name, value) for name, value in answer.headers if name != b"content-length"]
    headers += [(b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    return Answer(status=answer.status, headers=headers, body=(body,))
