"""Answers errors: one table gives each its HTTP status and type, and OpenAI's envelope goes around it.

``{"error": {"message", "type", "param", "code", "request_id"[, "details"]}}``, the first four always. Nothing of
``detail`` or of the caller's input gets in, and the size is bounded whatever came.
"""

from enum import StrEnum
from math import ceil

import msgspec
import orjson

from router import errors
from router.values import Answer
from store.ids import RequestId, wire


class Retry(StrEnum):
    """Whether the same call, sent again by a program that changes nothing, can pass."""

    # It meets the same answer; an error that has a ``retry_after_s`` of its own is a ``WAIT`` all the same.
    NEVER = "never"
    # It may pass, and without the same Idempotency-Key it could be charged a second time.
    UNSAFE = "unsafe"
    # It passes after a time that the error knows, or about a second.
    WAIT = "wait"
    # It may pass at once: the client's own pauses do.
    AGAIN = "again"


class Row(msgspec.Struct, frozen=True):
    """How an error class is answered."""

    status: int
    type: str
    retry: Retry


_INVALID = "invalid_request_error"
_SERVER = "server_error"

# Infrastructure faults are 503, never 401, 402 or 403.
ROWS: dict[type[errors.Refusal], Row] = {
    errors.Refusal: Row(500, _SERVER, Retry.NEVER),
    errors.Refused: Row(400, _INVALID, Retry.NEVER),
    errors.InvalidRequest: Row(400, _INVALID, Retry.NEVER),
    errors.UnknownParameter: Row(400, _INVALID, Retry.NEVER),
    errors.InputEmpty: Row(400, _INVALID, Retry.NEVER),
    errors.InputTooLong: Row(400, _INVALID, Retry.NEVER),
    errors.TooManyInputs: Row(400, _INVALID, Retry.NEVER),
    errors.TooManyTokens: Row(400, "max_tokens_per_request", Retry.NEVER),
    # Not 429, on which clients wait and repeat the call.
    errors.AboveTokenLimit: Row(400, _INVALID, Retry.NEVER),
    errors.AboveProviderQuota: Row(400, _INVALID, Retry.NEVER),
    errors.DimensionsUnsupported: Row(400, _INVALID, Retry.NEVER),
    errors.TokenArrayUnsupported: Row(400, _INVALID, Retry.NEVER),
    errors.BodyTooLarge: Row(413, _INVALID, Retry.NEVER),
    errors.DeviceLoginRefused: Row(400, _INVALID, Retry.NEVER),
    errors.AuthorizationPending: Row(400, _INVALID, Retry.WAIT),
    errors.PolledTooFast: Row(400, _INVALID, Retry.WAIT),
    errors.DeviceCodeExpired: Row(400, _INVALID, Retry.NEVER),
    errors.LoginDenied: Row(400, _INVALID, Retry.NEVER),
    errors.EncodingUnsupported: Row(415, _INVALID, Retry.NEVER),
    errors.KeyInUrl: Row(400, _INVALID, Retry.NEVER),
    errors.HeadersTooLarge: Row(431, _INVALID, Retry.NEVER),
    errors.RequestTooSlow: Row(408, _INVALID, Retry.AGAIN),
    errors.IdempotencyKeyInvalid: Row(400, _INVALID, Retry.NEVER),
    errors.PreconditionRequired: Row(428, _INVALID, Retry.NEVER),
    errors.Unauthenticated: Row(401, _INVALID, Retry.NEVER),
    errors.KeyMissing: Row(401, _INVALID, Retry.NEVER),
    errors.KeyUnknown: Row(401, _INVALID, Retry.NEVER),
    errors.KeyExpired: Row(401, _INVALID, Retry.NEVER),
    errors.KeyPaused: Row(401, _INVALID, Retry.NEVER),
    errors.NotAllowed: Row(403, "permission_error", Retry.NEVER),
    errors.LicenseRestricted: Row(403, "permission_error", Retry.NEVER),
    errors.ModelNotAllowed: Row(403, "permission_error", Retry.NEVER),
    errors.NetworkNotAllowed: Row(403, "permission_error", Retry.NEVER),
    errors.CapReached: Row(403, "permission_error", Retry.NEVER),
    errors.RoleInsufficient: Row(403, "permission_error", Retry.NEVER),
    errors.ScopeInsufficient: Row(403, "permission_error", Retry.NEVER),
    errors.NotFound: Row(404, _INVALID, Retry.NEVER),
    errors.ModelNotFound: Row(404, _INVALID, Retry.NEVER),
    errors.ModelNotLive: Row(404, _INVALID, Retry.NEVER),
    errors.PreferencesUnmet: Row(404, _INVALID, Retry.NEVER),
    errors.OperationNotFound: Row(404, _INVALID, Retry.NEVER),
    errors.MethodNotAllowed: Row(405, _INVALID, Retry.NEVER),
    errors.OutOfCredit: Row(402, "insufficient_quota", Retry.NEVER),
    errors.LimitExceeded: Row(429, "requests", Retry.WAIT),
    errors.RequestLimit: Row(429, "requests", Retry.WAIT),
    errors.TokenLimit: Row(429, "tokens", Retry.WAIT),
    errors.ConcurrencyLimit: Row(429, "requests", Retry.WAIT),
    errors.CreditHeld: Row(429, "requests", Retry.WAIT),
    errors.OutcomesFull: Row(429, "requests", Retry.WAIT),
    errors.Conflict: Row(409, _INVALID, Retry.NEVER),
    errors.IdempotencyInProgress: Row(409, _INVALID, Retry.WAIT),
    # Not 409, which clients retry: the same key and body would meet the same answer.
    errors.IdempotencyMismatch: Row(422, _INVALID, Retry.NEVER),
    errors.IdempotencyResultGone: Row(422, _INVALID, Retry.NEVER),
    errors.VersionConflict: Row(409, _INVALID, Retry.NEVER),
    errors.LaunchIncomplete: Row(409, _INVALID, Retry.NEVER),
    errors.ClientGone: Row(499, _INVALID, Retry.NEVER),
    errors.Failed: Row(500, _SERVER, Retry.NEVER),
    errors.NoEndpoint: Row(503, _SERVER, Retry.WAIT),
    errors.ProvidersBusy: Row(503, _SERVER, Retry.WAIT),
    errors.ModelWarming: Row(503, _SERVER, Retry.WAIT),
    errors.AllAttemptsFailed: Row(503, _SERVER, Retry.WAIT),
    errors.UpstreamInvalid: Row(502, _SERVER, Retry.AGAIN),
    errors.DeadlinePassed: Row(504, _SERVER, Retry.AGAIN),
    errors.Overloaded: Row(503, _SERVER, Retry.WAIT),
    errors.StoreUnavailable: Row(503, _SERVER, Retry.WAIT),
    errors.PaymentsNotConfigured: Row(503, _SERVER, Retry.NEVER),
    # The commit may have happened.
    errors.NotRecorded: Row(503, _SERVER, Retry.UNSAFE),
    errors.Unexpected: Row(500, _SERVER, Retry.UNSAFE),
}

# Where the error does not know how long.
_RETRY_AFTER_S = 1.0
# OpenAI's clients wait as Retry-After says for less than a minute; where it says more, they come back in seconds.
_CLIENT_WAIT_MAX_S = 60.0


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


def clients_retry(status: int) -> bool:
    """Whether OpenAI's clients send the call again by themselves on this status, where no x-should-retry decides."""
    return status in (408, 409, 429) or status >= 500


def _retry_headers(refusal: errors.Refusal, error_row: Row) -> list[tuple[bytes, bytes]]:
    """The headers that tell OpenAI's clients whether to send the call again, and when."""
    wait_s, retry = refusal.retry_after_s, error_row.retry
    if not refusal.again:
        retry = Retry.NEVER
    elif wait_s is not None and retry is not Retry.UNSAFE:
        retry = Retry.WAIT
    headers: list[tuple[bytes, bytes]] = []
    is_retried = retry in (Retry.WAIT, Retry.AGAIN)
    if retry is Retry.WAIT:
        wait_s = _RETRY_AFTER_S if wait_s is None else wait_s
        headers.append((b"retry-after", b"%d" % max(1, ceil(wait_s))))
        headers.append((b"retry-after-ms", b"%d" % max(1, ceil(wait_s * 1000))))
        is_retried = wait_s < _CLIENT_WAIT_MAX_S
    if is_retried != clients_retry(error_row.status):
        headers.append((b"x-should-retry", b"true" if is_retried else b"false"))
    return headers
