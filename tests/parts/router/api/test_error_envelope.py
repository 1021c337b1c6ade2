"""Every error has a status, fits OpenAI's schema, says when to come back, and shows nothing that it should not."""

import gc
import json
from pathlib import Path

import orjson
import pytest
from jsonschema import Draft202012Validator

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


# What clients are told of coming back, by status, with the classes that are answered so. OpenAI's clients retry 408,
# 409, 429 and 5xx by themselves: "wait" tells them when, "never" that they must not, "-" leaves it to them.
COMING_BACK = """
400 -     Refused InvalidRequest UnknownParameter InputEmpty InputTooLong TooManyInputs TooManyTokens KeyInUrl
400 -     DimensionsUnsupported TokenArrayUnsupported IdempotencyKeyInvalid
401 -     Unauthenticated KeyMissing KeyUnknown KeyExpired KeyPaused
402 -     OutOfCredit
403 -     NotAllowed LicenseRestricted ModelNotAllowed CapReached RoleInsufficient
404 -     NotFound ModelNotFound ModelNotLive PreferencesUnmet OperationNotFound
405 -     MethodNotAllowed
408 -     RequestTooSlow
409 -     Conflict IdempotencyInProgress VersionConflict LaunchIncomplete
413 -     BodyTooLarge
415 -     EncodingUnsupported
422 -     IdempotencyMismatch IdempotencyResultGone
428 -     PreconditionRequired
429 wait  LimitExceeded RequestLimit TokenLimit ConcurrencyLimit CreditHeld
431 -     HeadersTooLarge
499 -     ClientGone
500 never Refusal Failed Unexpected
502 -     UpstreamInvalid
503 wait  NoEndpoint ProvidersBusy ModelWarming AllAttemptsFailed Overloaded StoreUnavailable
503 never NotRecorded
504 -     DeadlinePassed
"""
HEADERS_OF = {
    "-": (None, None, None),
    "wait": (b"1", b"1000", None),
    "never": (None, None, b"false"),
}


def test_who_may_come_back_is_told_when_and_who_may_not_is_told_so() -> None:
    told: dict[str, tuple[int, tuple[bytes | None, ...]]] = {}
    for error in FAMILY:
        answer = error_response(error("x"), REQUEST_ID)
        headers = dict(answer.headers)
        names = (b"retry-after", b"retry-after-ms", b"x-should-retry")
        told[error.__name__] = answer.status, tuple(headers.get(name) for name in names)
    lines = [line.split() for line in COMING_BACK.strip().splitlines()]
    assert told == {name: (int(status), HEADERS_OF[way]) for status, way, *names in lines for name in names}


def test_where_a_retry_cannot_help_a_failure_says_so_whatever_its_class() -> None:
    for error in FAMILY:
        headers = dict(error_response(error("x", again=False), REQUEST_ID).headers)
        assert (headers.get(b"x-should-retry") == b"false") == (ROWS[error].status >= 500), error
        assert b"retry-after" not in headers, error


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
