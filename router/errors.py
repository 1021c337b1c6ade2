"""Declares the family of all errors that a caller can get, each with its code and its sentence. Pure.

HTTP status and retries are the edge's (:mod:`router.api.error_envelope`); docs/openapi.json has the first sentences.

Refusal
├── Refused                       the caller can do something; nothing was charged
│   ├── InvalidRequest            UnknownParameter, InputEmpty, InputTooLong, TooManyInputs, TooManyTokens,
│   │                             AboveTokenLimit, AboveProviderQuota, DimensionsUnsupported, TokenArrayUnsupported,
│   │                             BodyTooLarge, EncodingUnsupported, KeyInUrl, HeadersTooLarge, RequestTooSlow,
│   │                             IdempotencyKeyInvalid, PreconditionRequired
│   ├── Unauthenticated           KeyMissing, KeyUnknown, KeyExpired, KeyPaused
│   ├── NotAllowed                LicenseRestricted, ModelNotAllowed, CapReached, RoleInsufficient
│   ├── NotFound                  ModelNotFound, ModelNotLive, PreferencesUnmet, OperationNotFound, MethodNotAllowed
│   ├── LimitExceeded             RequestLimit, TokenLimit, ConcurrencyLimit, CreditHeld, OutcomesFull
│   ├── OutOfCredit, ClientGone   the client hung up before its call was sent on: for the log alone
│   └── Conflict                  IdempotencyInProgress, IdempotencyMismatch, IdempotencyResultGone,
│                                 VersionConflict, LaunchIncomplete
└── Failed                        our fault or a provider's; nothing was charged, or the same Idempotency-Key shows
    ├── NoEndpoint                ProvidersBusy, ModelWarming
    └── AllAttemptsFailed, UpstreamInvalid, DeadlinePassed, Overloaded, StoreUnavailable, NotRecorded, Unexpected
"""

from typing import ClassVar

from router.values import Choice


class Refusal(Exception):
    """Base: ``message`` is for the caller and says what to do, ``detail`` is for the log only and never shown.

    ``param`` is the field at fault; ``retry_after_s`` becomes ``Retry-After``: the same call passes by waiting. The
    envelope has ``details``: nothing secret. ``again`` False: no retry helps, where the class does not say so.
    """

    code: ClassVar[str] = "error"
    left_out: tuple[Choice, ...] = ()  # Each endpoint with the reason why it cannot serve, for the explanation.

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        detail: str = "",
        retry_after_s: float | None = None,
        details: dict[str, object] | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
        again: bool = True,
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.detail = message, param, detail
        self.retry_after_s, self.again = retry_after_s, again
        self.details, self.headers = details or {}, headers or []


class Refused(Refusal):
    """The caller can do something about it; nothing was charged."""


class InvalidRequest(Refused):
    """The body or a header does not say what the operation needs."""

    code = "invalid_request"


class UnknownParameter(InvalidRequest):
    """A field that the operation does not know."""

    code = "unknown_parameter"


class InputEmpty(InvalidRequest):
    """No input, or an empty one."""

    code = "input_empty"


class InputTooLong(InvalidRequest):
    """One input is longer than the model takes."""

    code = "input_too_long"


class TooManyInputs(InvalidRequest):
    """More than 2,048 inputs."""

    code = "batch_too_large"


class TooManyTokens(InvalidRequest):
    """More than 300,000 tokens in one request."""

    code = "max_tokens_per_request"


class AboveTokenLimit(InvalidRequest):
    """The call alone has more tokens than the key's limit allows in a minute: no wait makes it pass."""

    code = "above_tokens_per_minute"


class AboveProviderQuota(InvalidRequest):
    """No provider of the model takes so much within the time that a call has: only a smaller call passes."""

    code = "above_provider_quota"


class DimensionsUnsupported(InvalidRequest):
    """The model cannot be shortened, or not to this."""

    code = "dimensions_unsupported"


class TokenArrayUnsupported(InvalidRequest):
    """Token ids for a model whose tokenizer we do not declare, or whose prompt no provider can put before them."""

    code = "token_array_unsupported"


class BodyTooLarge(InvalidRequest):
    """More bytes than the operation takes."""

    code = "body_too_large"


class EncodingUnsupported(InvalidRequest):
    """A compressed or non-JSON body."""

    code = "unsupported_media_type"


class KeyInUrl(InvalidRequest):
    """A key in the query string, where logs would keep it."""

    code = "key_in_url"


class HeadersTooLarge(InvalidRequest):
    """More header bytes, or more headers, than we read."""

    code = "headers_too_large"


class RequestTooSlow(InvalidRequest):
    """Header or body did not arrive within the deadline."""

    code = "request_timeout"


class IdempotencyKeyInvalid(InvalidRequest):
    """An Idempotency-Key that is empty, too long or not printable ASCII."""

    code = "idempotency_key_invalid"


class PreconditionRequired(InvalidRequest):
    """An edit without If-Match, which would overwrite what somebody else may have changed."""

    code = "precondition_required"


class Unauthenticated(Refused):
    """No usable key."""

    code = "invalid_api_key"


class KeyMissing(Unauthenticated):
    """No key came with the call."""

    code = "key_missing"


class KeyUnknown(Unauthenticated):
    """A key that is mistyped, unknown or revoked."""


class KeyExpired(Unauthenticated):
    """The key's time is over."""

    code = "key_expired"


class KeyPaused(Unauthenticated):
    """The key is paused by its account."""

    code = "key_paused"


class NotAllowed(Refused):
    """The key is known and may not do this."""

    code = "not_allowed"


class LicenseRestricted(NotAllowed):
    """The model's license forbids this use; the message names the term and what would lift it."""

    code = "license_restricted"


class ModelNotAllowed(NotAllowed):
    """The key's list of models does not have this one."""

    code = "model_not_allowed"


class CapReached(NotAllowed):
    """The key's cap for the period is used up."""

    code = "key_budget_exhausted"


class RoleInsufficient(NotAllowed):
    """The operator's role may not do this; the message names the one that may."""

    code = "role_insufficient"


class NotFound(Refused):
    """Nothing under that name."""

    code = "not_found"


class ModelNotFound(NotFound):
    """No such model; the message names the nearest ones."""

    code = "model_not_found"


class ModelNotLive(NotFound):
    """The model is announced or retired, not served."""

    code = "model_not_available"


class PreferencesUnmet(NotFound):
    """The model is served, and by nobody that the call's ``provider`` object allows; the message names who and why."""

    code = "preferences_unmet"


class OperationNotFound(NotFound):
    """No such path."""


class MethodNotAllowed(NotFound):
    """The path exists, the verb does not."""

    code = "method_not_allowed"


class OutOfCredit(Refused):
    """The balance does not cover the call."""

    code = "credit_exhausted"


class LimitExceeded(Refused):
    """A limit of the key is reached; ``retry_after_s`` says when to come back."""

    code = "rate_limit_exceeded"


class RequestLimit(LimitExceeded):
    """Requests per minute."""

    code = "rate_limited_requests"


class TokenLimit(LimitExceeded):
    """Tokens per minute."""

    code = "rate_limited_tokens"


class ConcurrencyLimit(LimitExceeded):
    """Calls at once."""

    code = "concurrency_limited"


class OutcomesFull(LimitExceeded):
    """As much as an account may have stored under Idempotency-Keys is stored."""

    code = "idempotency_full"


class CreditHeld(LimitExceeded):
    """The balance would do, and calls in flight hold too much of it: most of them will cost less than they hold."""

    code = "credit_held"


class Conflict(Refused):
    """Another call stands in the way."""

    code = "conflict"


class IdempotencyInProgress(Conflict):
    """A call with the same Idempotency-Key still runs."""

    code = "idempotency_in_progress"


class IdempotencyMismatch(Conflict):
    """The same Idempotency-Key came with another body."""

    code = "idempotency_mismatch"


class IdempotencyResultGone(Conflict):
    """The call was done and charged, or the change made, and its answer was not kept or cannot be read."""

    code = "idempotency_result_gone"


class VersionConflict(Conflict):
    """The thing was changed since it was read: read it again, then decide."""

    code = "version_conflict"


class LaunchIncomplete(Conflict):
    """A model lacks something to go live; ``details`` has a sentence for each thing."""

    code = "launch_incomplete"


class ClientGone(Refused):
    """The client hung up before its call was sent on: for the log only."""

    code = "client_closed_request"


class Failed(Refusal):
    """Not the caller's fault; nothing was charged, or the same Idempotency-Key tells."""

    code = "server_error"


class NoEndpoint(Failed):
    """No endpoint of the model can take the call now."""

    code = "no_provider_available"


class ProvidersBusy(NoEndpoint):
    """Each provider that could serve the call has as many calls as it takes from us."""

    code = "capacity_exhausted"


class ModelWarming(NoEndpoint):
    """The model is being loaded: it can be called in ``retry_after_s``."""

    code = "model_warming"


class AllAttemptsFailed(Failed):
    """Every endpoint tried has failed."""

    code = "provider_unavailable"


class UpstreamInvalid(Failed):
    """Providers answered, and no answer passed the checks."""

    code = "upstream_invalid"


class DeadlinePassed(Failed):
    """The call's time was over before an answer came."""

    code = "upstream_timeout"


class Overloaded(Failed):
    """This process has no room for one more call."""

    code = "overloaded"


class StoreUnavailable(Failed):
    """Redis or Postgres cannot be reached."""

    code = "store_unavailable"


class NotRecorded(Failed):
    """The charge could not be committed, so nothing is delivered."""

    code = "not_recorded"


class Unexpected(Failed):
    """A fault that we did not foresee; the log has it under the request id."""

    code = "internal_error"
