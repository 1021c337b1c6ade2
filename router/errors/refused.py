"""What the caller can do something about; nothing was charged. Pure."""

from router.errors.base import Refused


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


class NetworkNotAllowed(NotAllowed):
    """The key may be used from certain networks, and the client's address is in none of them."""

    code = "network_not_allowed"


class CapReached(NotAllowed):
    """A cap of the key, or of its account, is used up for its period; the details name it."""

    code = "key_budget_exhausted"


class RoleInsufficient(NotAllowed):
    """The operator's role may not do this; the message names the one that may."""

    code = "role_insufficient"


class ScopeInsufficient(NotAllowed):
    """The management key or the member has no scope that the operation needs; the message says who can give it."""

    code = "scope_insufficient"


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
