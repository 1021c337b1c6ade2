"""A test of a provider names the step at which the call ended, and never says what answered where it must not ask."""

import pytest

from providers.outcomes import (
    BadAnswer,
    Broken,
    ConnectFailed,
    CredentialRefused,
    Failure,
    ModelMissing,
    SpaceMismatch,
    TimedOut,
)
from router.verification.call_steps import STEPS, build_steps, explain_failure, failed_step


def a_refused_address() -> ConnectFailed:
    return ConnectFailed(
        step="guard", refusal="it is in 10.0.0.0/8", detail="address 10.0.0.7 refused: it is in 10.0.0.0/8"
    )


@pytest.mark.parametrize(
    ("failure", "step"),
    [
        (ConnectFailed(step="resolve", detail="name: the name does not resolve"), "resolve"),
        (TimedOut(step="resolve", detail="name: not in 10 s"), "resolve"),
        (a_refused_address(), "guard"),
        (ConnectFailed(step="connect", detail="connect: ECONNREFUSED"), "connect"),
        (TimedOut(step="tls", detail="tls: not in 10 s"), "tls"),
        (ConnectFailed(step="tls", detail="tls: CERTIFICATE_VERIFY_FAILED"), "tls"),
        (CredentialRefused("the provider is not configured for use", detail="it is switched off"), "configure"),
        (CredentialRefused(detail="status 401", status=401), "authenticate"),
        (ModelMissing(detail="status 404", status=404), "embed"),
        (Broken(detail="status 500", status=500), "embed"),
        (TimedOut(), "embed"),
        (BadAnswer(check="dimensions", detail="8 instead of 9"), "dimensions"),
        (BadAnswer(check="norm"), "numbers"),
        (BadAnswer(check="numbers"), "numbers"),
        (BadAnswer(check="number format"), "numbers"),
        (BadAnswer(check="usage"), "usage"),
        (BadAnswer(check="count"), "embed"),
        (BadAnswer(detail="an embedding that is not base64"), "embed"),
        (SpaceMismatch("another"), "space"),
    ],
)
def test_each_failure_ends_at_its_step(failure: Failure, step: str) -> None:
    assert failed_step(failure) == step
    steps = build_steps("https://api.example.com", {}, failed_at=step, reason=explain_failure(failure))
    assert [one.name for one in steps] == list(STEPS)
    at = STEPS.index(step)
    assert [one.outcome for one in steps] == ["passed"] * at + ["failed"] + ["not_reached"] * (len(STEPS) - at - 1)


def test_a_refused_address_is_not_told_but_what_to_do() -> None:
    said = explain_failure(a_refused_address())
    assert "10.0.0.7" not in said
    assert "it is in 10.0.0.0/8" in said
    assert "GIGAROUTER_ALLOWED_PRIVATE_NETWORKS" in said


def test_what_cannot_be_seen_is_not_claimed() -> None:
    plain = {one.name: one.outcome for one in build_steps("http://10.0.0.7", {})}
    assert plain["tls"] == "not_told"
    elsewhere = {one.name: one.outcome for one in build_steps(None, {}, shows_connection=False)}
    assert {elsewhere[name] for name in ("resolve", "guard", "connect", "tls")} == {"not_told"}
