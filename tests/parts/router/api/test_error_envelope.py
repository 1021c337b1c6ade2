"""Every error has a status, fits OpenAI's schema, says when to come back, and shows nothing that it should not."""

import gc
import json
from pathlib import Path

import httpx
import orjson
import pytest
from jsonschema import Draft202012Validator
from openai import OpenAI
from openai._models import FinalRequestOptions

from router import errors
from router.api.error_envelope import ROWS, error_response
from store.ids import RequestId, new_id

CONTRACT = json.loads((Path(__file__).parents[3] / "contract" / "openai.openapi.json").read_text())
ERROR = Draft202012Validator({"$ref": "#/components/schemas/ErrorResponse", "components": CONTRACT["components"]})
REQUEST_ID = RequestId(new_id())


def _family(error: type[errors.Refusal]) -> list[type[errors.Refusal]]:
    return [error, *(child for subclass in error.__subclasses__() for child in _family(subclass))]


FAMILY = _family(errors.Refusal)


def test_every_error_class_has_its_row_and_every_row_its_class() -> None:
    assert set(FAMILY) == set(ROWS)


def test_an_error_that_is_not_in_the_table_yet_is_answered_as_its_parent() -> None:
    class OfTomorrow(errors.LimitExceeded):
        pass

    assert error_response(OfTomorrow("x"), REQUEST_ID).status == 429
    # Other tests walk the family: a class is of it until the collector has come.
    del OfTomorrow
    gc.collect()


def test_every_error_is_openais_envelope() -> None:
    for error in FAMILY:
        refusal = error("What is wrong.", param="input", detail="SECRET", details={"limit": 5})
        answer = error_response(refusal, REQUEST_ID)
        body = b"".join(answer.body)
        said = orjson.loads(body)
        ERROR.validate(said)
        assert list(said) == ["error"], error
        assert said["error"]["code"] == error.code
        assert said["error"]["request_id"] == f"req_{REQUEST_ID.hex}", error
        assert said["error"]["details"] == {"limit": 5}, error
        assert b"SECRET" not in body, error
        headers = dict(answer.headers)
        assert headers[b"content-length"] == b"%d" % len(body), error
        assert all(b"SECRET" not in value for value in headers.values()), error


# Whether the same call can pass when it is sent again, by status, with the classes that are answered so: "never",
# "wait" for a time that the headers tell, "again" after the client's own pauses, "unsafe" where that may charge twice.
COMING_BACK = """
400 never  Refused InvalidRequest UnknownParameter InputEmpty InputTooLong TooManyInputs TooManyTokens KeyInUrl
400 never  AboveTokenLimit AboveProviderQuota DimensionsUnsupported TokenArrayUnsupported IdempotencyKeyInvalid
400 never  DeviceLoginRefused DeviceCodeExpired LoginDenied
400 wait   AuthorizationPending PolledTooFast
401 never  Unauthenticated KeyMissing KeyUnknown KeyExpired KeyPaused
402 never  OutOfCredit
403 never  NotAllowed LicenseRestricted ModelNotAllowed NetworkNotAllowed CapReached RoleInsufficient ScopeInsufficient
404 never  NotFound ModelNotFound ModelNotLive PreferencesUnmet OperationNotFound
405 never  MethodNotAllowed
408 again  RequestTooSlow
409 never  Conflict VersionConflict LaunchIncomplete
409 wait   IdempotencyInProgress
413 never  BodyTooLarge
415 never  EncodingUnsupported
422 never  IdempotencyMismatch IdempotencyResultGone
428 never  PreconditionRequired
429 wait   LimitExceeded RequestLimit TokenLimit ConcurrencyLimit CreditHeld OutcomesFull
431 never  HeadersTooLarge
499 never  ClientGone
500 never  Refusal Failed
500 unsafe Unexpected
502 again  UpstreamInvalid
503 wait   NoEndpoint ProvidersBusy ModelWarming AllAttemptsFailed Overloaded StoreUnavailable
503 never  PaymentsNotConfigured
503 unsafe NotRecorded
504 again  DeadlinePassed
"""
WAYS = {
    name: (int(status), way)
    for status, way, *names in map(str.split, COMING_BACK.strip().splitlines())
    for name in names
}


class Sdk:
    """OpenAI's own rules, as the client that customers have applies them to an answer."""

    def __init__(self) -> None:
        self._client = OpenAI(api_key="none", base_url="http://127.0.0.1:9")

    def pause_s(self, refusal: errors.Refusal) -> float | None:
        """Seconds until the client sends the call again by itself; None where it does not."""
        answer = error_response(refusal, REQUEST_ID)
        response = httpx.Response(answer.status, headers=answer.headers)
        if not self._client._should_retry(response):
            return None
        return self._client._calculate_retry_timeout(2, FinalRequestOptions(method="post", url="/"), response.headers)


def test_every_error_is_classified_and_openais_client_repeats_just_what_can_pass() -> None:
    sdk = Sdk()
    assert {error.__name__: ROWS[error].status for error in FAMILY} == {name: way[0] for name, way in WAYS.items()}
    for error in FAMILY:
        _, way = WAYS[error.__name__]
        headers = dict(error_response(error("x"), REQUEST_ID).headers)
        assert (sdk.pause_s(error("x")) is not None) == (way in ("wait", "again")), error
        assert (b"retry-after" in headers) == (b"retry-after-ms" in headers) == (way == "wait"), error
        # A time that the error itself knows; what could be charged twice is not repeated for any.
        assert sdk.pause_s(error("x", retry_after_s=7)) == (None if way == "unsafe" else 7), error
        # Longer than clients wait: they would be back in seconds, again and again.
        long = dict(error_response(error("x", retry_after_s=86_400), REQUEST_ID).headers)
        assert sdk.pause_s(error("x", retry_after_s=86_400)) is None, error
        assert long.get(b"retry-after") == (None if way == "unsafe" else b"86400"), error


def test_where_a_retry_cannot_help_an_error_says_so_whatever_its_class() -> None:
    sdk = Sdk()
    for error in FAMILY:
        refusal = error("x", retry_after_s=1, again=False)
        assert sdk.pause_s(refusal) is None, error
        assert b"retry-after" not in dict(error_response(refusal, REQUEST_ID).headers), error


@pytest.mark.parametrize(
    ("wait_s", "seconds", "milliseconds"), [(0.0, b"1", b"1"), (0.2, b"1", b"200"), (2.812, b"3", b"2812")]
)
def test_the_wait_is_whole_seconds_rounded_up_and_exact_milliseconds(
    wait_s: float, seconds: bytes, milliseconds: bytes
) -> None:
    headers = dict(error_response(errors.RequestLimit("x", retry_after_s=wait_s), REQUEST_ID).headers)
    assert (headers[b"retry-after"], headers[b"retry-after-ms"]) == (seconds, milliseconds)


def test_what_a_retry_could_charge_twice_is_not_to_be_retried() -> None:
    """OpenAI's clients send no Idempotency-Key, and retry every 5xx unless told otherwise."""
    headers = dict(error_response(errors.NotRecorded("x", retry_after_s=1), REQUEST_ID).headers)
    assert headers[b"x-should-retry"] == b"false"


def test_faults_of_ours_are_never_told_as_faults_of_the_key_or_of_its_credit() -> None:
    assert all(ROWS[error].status >= 500 for error in FAMILY if issubclass(error, errors.Failed))
    assert all(ROWS[error].status < 500 for error in FAMILY if issubclass(error, errors.Refused))
