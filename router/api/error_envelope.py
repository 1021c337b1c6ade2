"""Answers errors: one table gives each its HTTP status and type, and OpenAI's envelope goes around it.

``{"error": {"message", "type", "param", "code", "request_id"[, "details"]}}``, the first four always. Nothing of
``detail`` or of the caller's input gets in, and the size is bounded whatever came.
"""

from math import ceil

import msgspec
import orjson

from router import errors
from router.values import Answer
from store.ids import RequestId, wire


class Row(msgspec.Struct, frozen=True):
    """How an error class is answered. ``retryable`` False tells OpenAI's clients not to retry a 5xx."""

    status: int
    type: str
    retryable: bool = True


_INVALID = "invalid_request_error"
_SERVER = "server_error"

# Infrastructure faults are 503, never 401, 402 or 403. OpenAI's clients retry 408, 409, 429 and 5xx unless told.
ROWS: dict[type[errors.Refusal], Row] = {
    errors.Refusal: Row(500, _SERVER, retryable=False),
    errors.Refused: Row(400, _INVALID),
    errors.InvalidRequest: Row(400, _INVALID),
    errors.UnknownParameter: Row(400, _INVALID),
    errors.InputEmpty: Row(400, _INVALID),
    errors.InputTooLong: Row(400, _INVALID),
    errors.TooManyInputs: Row(400, _INVALID),
    errors.TooManyTokens: Row(400, "max_tokens_per_request"),
    errors.DimensionsUnsupported: Row(400, _INVALID),
    errors.TokenArrayUnsupported: Row(400, _INVALID),
    errors.BodyTooLarge: Row(413, _INVALID),
    errors.EncodingUnsupported: Row(415, _INVALID),
    errors.KeyInUrl: Row(400, _INVALID),
    errors.HeadersTooLarge: Row(431, _INVALID),
    errors.RequestTooSlow: Row(408, _INVALID),
    errors.IdempotencyKeyInvalid: Row(400, _INVALID),
    errors.PreconditionRequired: Row(428, _INVALID),
    errors.Unauthenticated: Row(401, _INVALID),
    errors.KeyMissing: Row(401, _INVALID),
    errors.KeyUnknown: Row(401, _INVALID),
    errors.KeyExpired: Row(401, _INVALID),
    errors.KeyPaused: Row(401, _INVALID),
    errors.NotAllowed: Row(403, "permission_error"),
    errors.LicenseRestricted: Row(403, "permission_error"),
    errors.ModelNotAllowed: Row(403, "permission_error"),
    errors.CapReached: Row(403, "permission_error"),
    errors.RoleInsufficient: Row(403, "permission_error"),
    errors.NotFound: Row(404, _INVALID),
    errors.ModelNotFound: Row(404, _INVALID),
    errors.ModelNotLive: Row(404, _INVALID),
    errors.PreferencesUnmet: Row(404, _INVALID),
    errors.OperationNotFound: Row(404, _INVALID),
    errors.MethodNotAllowed: Row(405, _INVALID),
    errors.OutOfCredit: Row(402, "insufficient_quota"),
    errors.LimitExceeded: Row(429, "requests"),
    errors.RequestLimit: Row(429, "requests"),
    errors.TokenLimit: Row(429, "tokens"),
    errors.ConcurrencyLimit: Row(429, "requests"),
    errors.CreditHeld: Row(429, "requests"),
    errors.Conflict: Row(409, _INVALID),
    errors.IdempotencyInProgress: Row(409, _INVALID),
    # Not 409, which clients retry: the same key and body would meet the same answer.
    errors.IdempotencyMismatch: Row(422, _INVALID),
    errors.IdempotencyResultGone: Row(422, _INVALID),
    errors.VersionConflict: Row(409, _INVALID),
    errors.LaunchIncomplete: Row(409, _INVALID),
    errors.ClientGone: Row(499, _INVALID),
    errors.Failed: Row(500, _SERVER, retryable=False),
    errors.NoEndpoint: Row(503, _SERVER),
    errors.ProvidersBusy: Row(503, _SERVER),
    errors.ModelWarming: Row(503, _SERVER),
    errors.AllAttemptsFailed: Row(503, _SERVER),
    errors.UpstreamInvalid: Row(502, _SERVER),
    errors.DeadlinePassed: Row(504, _SERVER),
    errors.Overloaded: Row(503, _SERVER),
    errors.StoreUnavailable: Row(503, _SERVER),
    # The commit may have happened: a retry without the same Idempotency-Key could be charged a second time.
    errors.NotRecorded: Row(503, _SERVER, retryable=False),
    errors.Unexpected: Row(500, _SERVER, retryable=False),
}

# Statuses with which a client is always told when to come back, and after how long where the error does not know.
_RETRY_AFTER_STATUSES = {429, 503}
_RETRY_AFTER_S = 1.0


def row(refusal: errors.Refusal) -> Row:
    """The row of an error's class, or of its nearest parent's."""
    return next(ROWS[parent] for parent in type(refusal).__mro__ if parent in ROWS)


def error_response(refusal: errors.Refusal, request_id: RequestId) -> Answer:
    """Builds the response of a refusal: status, envelope, retry headers."""
    error_row = row(refusal)
    error: dict[str, object] = {
        "message": refusal.message,
        "type": error_row.type,
        "param": refusal.param,
        "code": refusal.code,
        "request_id": wire(RequestId, request_id),
    }
    if refusal.details:
        error["details"] = refusal.details
    body = orjson.dumps({"error": error}, default=str)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *refusal.headers,
        *_retry_headers(refusal, error_row),
    ]
    return Answer(status=error_row.status, headers=headers, body=(body,))


def _retry_headers(refusal: errors.Refusal, error_row: Row) -> list[tuple[bytes, bytes]]:
    wait_s, retryable = refusal.retry_after_s, error_row.retryable and refusal.again
    if wait_s is None and error_row.status in _RETRY_AFTER_STATUSES and retryable:
        wait_s = _RETRY_AFTER_S
    headers: list[tuple[bytes, bytes]] = []
    if wait_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(wait_s))))
        headers.append((b"retry-after-ms", b"%d" % max(1, ceil(wait_s * 1000))))
    if error_row.status >= 500 and not retryable:
        headers.append((b"x-should-retry", b"false"))
    return headers
