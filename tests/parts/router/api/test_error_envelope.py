"""Every error has a status, fits OpenAI's schema, says when to come back, and shows nothing that it should not."""

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
    del OfTomorrow


@pytest.mark.parametrize("error", FAMILY, ids=lambda error: error.__name__)
def test_every_error_is_openais_envelope(error: type[errors.Refusal]) -> None:
    refusal = error("What is wrong.", param="input", detail="SECRET", details={"limit": 5})
    answer = error_response(refusal, REQUEST_ID)
    body = b"".join(answer.body)
    said = orjson.loads(body)
    ERROR.validate(said)
    assert list(said) == ["error"]
    assert said["error"]["code"] == error.code
    assert said["error"]["request_id"] == f"req_{REQUEST_ID.hex}"
    assert said["error"]["details"] == {"limit": 5}
    assert b"SECRET" not in body
    headers = dict(answer.headers)
    assert headers[b"content-length"] == b"%d" % len(body)
    assert all(b"SECRET" not in value for value in headers.values())


@pytest.mark.parametrize("error", FAMILY, ids=lambda error: error.__name__)
def test_who_may_come_back_is_told_when_and_who_may_not_is_told_so(error: type[errors.Refusal]) -> None:
    answer = error_response(error("x"), REQUEST_ID)
    headers = dict(answer.headers)
    if answer.status == 429:
        assert int(headers[b"retry-after"]) >= 1
    if answer.status >= 500:
        assert b"retry-after" in headers or b"x-should-retry" in headers or answer.status in {502, 504}


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
    assert all(ROWS[error].status >= 500 for error in _family(errors.Failed))
    assert all(ROWS[error].status < 500 for error in _family(errors.Refused))
