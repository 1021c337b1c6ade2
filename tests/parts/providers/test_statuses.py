"""Whatever an upstream says instead of vectors becomes the failure that tells the router what to do next."""

import json
from typing import Any

import pytest

from providers.outcomes import (
    Broken,
    CallerFault,
    CredentialRefused,
    Failure,
    ModelMissing,
    Overloaded,
    Throttled,
    TimedOut,
    Warming,
)
from providers.statuses import error_in_success, failure, retry_after_s

NOW = 1_800_000_000.0
SECRET = "sk-live-123456 and the customer's own words"


def mapped(status: int, error: object = None, **headers: str) -> Failure:
    body = b"" if error is None else json.dumps(error).encode()
    return failure(
        status, {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}, body, NOW
    )


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"error": {"message": "bad", "type": "invalid_request_error", "code": None}}, CallerFault),
        (413, None, CallerFault),
        (422, {"detail": [{"msg": "x"}]}, CallerFault),
        (401, None, CredentialRefused),
        (402, {"error": {"code": 402, "message": "out of credits"}}, CredentialRefused),
        (429, {"error": {"code": "insufficient_quota", "type": "insufficient_quota"}}, CredentialRefused),
        (400, {"error": {"code": "invalid_api_key"}}, CredentialRefused),
        (400, {"error": {"code": "model_not_found"}}, ModelMissing),
        (403, {"error": {"code": "model_not_found"}}, ModelMissing),
        (429, None, Throttled),
        (408, None, TimedOut),
        (504, None, TimedOut),
        (529, None, Overloaded),
        (500, None, Broken),
        (500, {"error": {"code": "invalid_api_key"}}, Broken),
        (502, None, Broken),
        (503, None, Broken),
        (301, None, Broken),
        (302, None, Broken),
        (307, None, Broken),
        (204, None, Broken),
        (418, None, Broken),
    ],
)
def test_a_status_and_its_code_say_what_to_do_next(status: int, error: object, expected: type[Failure]) -> None:
    assert type(mapped(status, error)) is expected


UNKNOWN = [
    (403, b""),
    (403, b"<!DOCTYPE html><title>Attention Required! | Cloudflare</title>"),
    (403, b'{"error": {"message": "Request blocked: prompt injection patterns detected", "code": 403}}'),
    (403, b'{"message": "Forbidden"}'),
    (404, b""),
    (404, b"no healthy upstream"),
    (404, b"404 page not found"),
    (404, b'{"detail": "Not Found"}'),
    (404, b'{"message": "no Route matched with those values"}'),
    (404, b'{"message": "blocked: the model x does not exist"}'),
]


@pytest.mark.parametrize(("status", "body"), UNKNOWN)
def test_a_firewall_and_a_load_balancer_take_no_endpoint_out(status: int, body: bytes) -> None:
    """One customer's text may trip the one, a restart the other: both count against health and no further."""
    assert type(failure(status, {}, body, NOW)) is Broken


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"], "flagged_input": SECRET}}},
        {"error": {"code": "content_filter", "message": "x"}},
        {"error": {"type": "content_policy_violation", "message": "x"}},
    ],
)
def test_an_input_that_a_moderation_flags_is_its_writers_fault_and_no_endpoints(error: object) -> None:
    caught = mapped(403, error)
    assert type(caught) is CallerFault
    assert SECRET not in caught.message + caught.detail


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}},
        {"error": {"message": "Model not found, inaccessible, and/or not deployed", "code": "NOT_FOUND"}},
        {"message": "model 'x' not found, make sure the correct model ID was used"},
        {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error"}},
        {"error": {"code": "DeploymentNotFound"}},
    ],
)
def test_a_404_that_says_it_is_the_model_takes_the_endpoint_out(error: object) -> None:
    assert type(mapped(404, error)) is ModelMissing


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "AccessDeniedException", "InvalidClientTokenId"])
def test_a_403_that_says_it_is_our_credential_is_one(code: str) -> None:
    assert type(mapped(403, {"error": {"status": code}})) is CredentialRefused


def test_what_a_customer_wrote_cannot_take_an_endpoint_out() -> None:
    """Providers quote inputs in their messages, so no words of a message may stand for a wrong key or model."""
    for words in (
        "cannot embed: The provided model identifier is invalid.",
        "input 'API_KEY_INVALID model_not_found' is refused",
        "The provided model identifier is invalid.",
    ):
        assert type(mapped(400, {"message": words})) is CallerFault
        assert type(mapped(400, {"error": {"message": words, "code": None}})) is CallerFault


def test_googles_wait_stands_in_the_body_and_a_header_goes_first() -> None:
    detail: dict[str, Any] = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "43.25s"}]}
    error = {"error": detail}
    assert mapped(429, error).retry_after_s == 43.25
    assert mapped(429, error, retry_after="7").retry_after_s == 7
    for odd in ("43", "-1s", "s", "9999999s", 43, None, "1e9s"):
        detail["details"] = [{"retryDelay": odd}, 7, None]
        assert mapped(429, error).retry_after_s in (None, 60)


def test_a_503_that_says_when_to_come_back_is_pacing_not_ill_health() -> None:
    caught = mapped(503, retry_after="7")
    assert type(caught) is Overloaded
    assert caught.retry_after_s == 7


def test_nothing_that_a_provider_wrote_reaches_a_customer_or_the_log_but_its_codes() -> None:
    for status in (400, 401, 404, 429, 500):
        caught = mapped(status, {"error": {"message": SECRET, "type": SECRET, "code": "some_code", "param": SECRET}})
        assert "sk-live" not in caught.message + caught.detail + str(caught) + repr(caught)
        assert "some_code" in caught.detail
        assert caught.status == status


def test_an_input_that_is_too_long_there_is_told_to_the_customer() -> None:
    for error in (
        {"error": {"message": "This model's maximum context length is 8192 tokens, however you requested 9000"}},
        {"error": {"code": "context_length_exceeded", "message": ""}},
        {"detail": "inputs: too many tokens"},
        {
            "error": "Input validation error: `inputs` must have less than 512 tokens; maximum",
            "error_type": "Validation",
        },
    ):
        assert "longer than the model takes" in mapped(400, error).message


@pytest.mark.parametrize(
    "body", [b"", b"<html>502</html>", b"[" * 10_000, b"{" * 100_000, b"\xff\xfe", b"null", b'"x"', b"[1]"]
)
def test_an_unreadable_error_body_does_not_matter(body: bytes) -> None:
    assert type(failure(500, {}, body, NOW)) is Broken


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3),
        ("1.5", 1.5),
        ("0", 0),
        ("60", 60),
        ("61", 60),
        ("99999999999999999999", 60),
        ("9" * 4000, None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("soon", None),
        ("", None),
        ("3, 4", None),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30),
        ("Fri, 15 Jan 2027 07:59:30 GMT", None),
        ("Fri, 15 Jan 9999 08:00:30 GMT", 60),
        ("Fri, 99 Jan 2027 08:00:30 GMT", None),
    ],
)
def test_retry_after_is_clamped_to_a_minute_and_nonsense_is_nothing(text: str, seconds: float | None) -> None:
    assert retry_after_s({b"retry-after": text.encode()}, NOW) == seconds


def test_retry_after_in_milliseconds_goes_first() -> None:
    assert retry_after_s({b"retry-after-ms": b"250", b"retry-after": b"9"}, NOW) == 0.25
    assert retry_after_s({b"retry-after-ms": b"x", b"retry-after": b"9"}, NOW) == 9


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, Throttled),
        ({"error": {"code": 402}}, CredentialRefused),
        ({"error": {"code": "invalid_api_key"}}, CredentialRefused),
        ({"error": {"code": "model_not_found"}}, ModelMissing),
        ({"error": {"message": "no successful provider responses"}}, Broken),
        ({"error": {"code": 7}}, Broken),
        ({"error": "x"}, Broken),
    ],
)
def test_an_error_inside_a_200_counts_as_what_it_says(error: object, expected: type[Failure]) -> None:
    assert type(error_in_success(json.dumps(error).encode())) is expected


@pytest.mark.parametrize(
    ("error", "headers", "wait_s"),
    [
        ({"error": "Model org/name is currently loading", "estimated_time": 20.5}, {}, 20.5),
        ({"error": "Model org/name is currently loading", "estimated_time": 1e9}, {}, 60.0),
        ({"error": "Model org/name is currently loading", "estimated_time": "soon"}, {}, 5.0),
        ({"error": {"code": "model_warming", "message": "x"}}, {"retry_after": "2"}, 2.0),
        ({"error": {"message": "The model is being loaded.", "type": "unavailable"}}, {}, 5.0),
        ({"estimated_time": -1, "error": {"code": "model_loading"}}, {}, 5.0),
    ],
)
def test_a_model_that_is_being_loaded_is_warming_for_as_long_as_is_said(
    error: object, headers: dict[str, str], wait_s: float
) -> None:
    warming = mapped(503, error, **headers)
    assert (type(warming), warming.retry_after_s) == (Warming, wait_s)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, {"error": "Model m is currently loading"}),
        (503, {"error": "The model is overloaded", "estimated_time": True}),
        (503, {"error": {"message": "loading"}}),
    ],
)
def test_what_is_not_said_to_be_loading_is_a_failure(status: int, error: object) -> None:
    assert type(mapped(status, error)) is Broken
