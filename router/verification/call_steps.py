"""Lists the steps of one real call to a provider: which passed, at which the call ended, which it never reached. Pure.

A step has kinds of failure, our own sentences and numbers. It never repeats what a provider wrote, nor what answered
at an address that must not be reached.
"""

from typing import Literal

import msgspec

from providers.outcomes import (
    AnswerCheck,
    BadAnswer,
    Broken,
    ConnectFailed,
    ConnectStep,
    CredentialRefused,
    Failure,
    Misconfigured,
    SpaceMismatch,
    TimedOut,
)
from router.values import Endpoint

StepOutcome = Literal["passed", "failed", "not_reached", "not_told"]

CONFIGURE, RESOLVE, GUARD, CONNECT, TLS, AUTHENTICATE, EMBED, NUMBERS, DIMENSIONS, BASE64, USAGE, MEANING, SPACE = (
    "configure",
    "resolve",
    "guard",
    "connect",
    "tls",
    "authenticate",
    "embed",
    "numbers",
    "dimensions",
    "base64",
    "usage",
    "meaning",
    "space",
)
# In the order in which a call passes them.
STEPS = (
    *(CONFIGURE, RESOLVE, GUARD, CONNECT, TLS, AUTHENTICATE, EMBED, NUMBERS),
    *(DIMENSIONS, BASE64, USAGE, MEANING, SPACE),
)
# Steps that another library's connection does not show.
CONNECTION_STEPS = (RESOLVE, GUARD, CONNECT, TLS)
_BY_CONNECT_STEP: dict[ConnectStep, str] = {"resolve": RESOLVE, "guard": GUARD, "connect": CONNECT, "tls": TLS}
_BY_CHECK: dict[AnswerCheck | None, str] = {
    "dimensions": DIMENSIONS,
    "usage": USAGE,
    "norm": NUMBERS,
    "numbers": NUMBERS,
    "number format": NUMBERS,
}
REFUSED_ADDRESS = (
    "The address must not be reached ({why}). Networks of your own are opened by GIGAROUTER_ALLOWED_PRIVATE_NETWORKS."
)


class CallStep(msgspec.Struct, frozen=True):
    """One step of a call. ``not_told``: this kind of provider, this URL or what it answered shows us no such step."""

    name: str
    outcome: StepOutcome
    detail: str = ""


def failed_step(failure: Failure) -> str:
    """Return the name of the step at which a call failed."""
    if isinstance(failure, ConnectFailed | TimedOut) and failure.step is not None:
        return _BY_CONNECT_STEP[failure.step]
    if isinstance(failure, CredentialRefused | Misconfigured):
        return CONFIGURE if failure.status is None else AUTHENTICATE
    if isinstance(failure, SpaceMismatch):
        return SPACE
    if isinstance(failure, BadAnswer):
        return _BY_CHECK.get(failure.check, EMBED)
    return EMBED


def tells_of_credential(failure: Failure) -> bool:
    """Whether a call that failed at a later step shows that the provider took our credential.

    A page to sign in, an unknown path or a fault of a proxy may come before anyone has looked at it.
    """
    return not isinstance(failure, Broken | TimedOut)


def describe_failure(failure: Failure, otherwise: str = "it failed") -> str:
    """Describe a failure in one line for operators: its class, its message or ``otherwise``, and its detail."""
    what = failure.message or otherwise
    return f"{type(failure).__name__}: {what}{f' ({failure.detail})' if failure.detail else ''}"


def explain_failure(failure: Failure) -> str:
    """Describe a failure to the operator who made the call; of a refused address, say why and what to do."""
    if isinstance(failure, ConnectFailed) and failure.step == "guard":
        return REFUSED_ADDRESS.format(why=failure.refusal)
    return describe_failure(failure, "no answer in time" if isinstance(failure, TimedOut) else "it failed")


def build_steps(
    base_url: str | None,
    details: dict[str, str],
    *,
    failed_at: str | None = None,
    reason: str = "",
    shows_connection: bool = True,
    shows_credential: bool = True,
) -> tuple[CallStep, ...]:
    """List every step: those before ``failed_at`` passed, that one failed with ``reason``, the rest were not reached.

    ``details`` has more to say of a step that passed. ``shows_connection`` is False where another library connects,
    ``shows_credential`` where nothing tells that ours was taken.
    """
    steps: list[CallStep] = []
    has_failed = False
    for name in STEPS:
        if name == failed_at:
            has_failed = True
            steps.append(CallStep(name, "failed", reason))
        elif has_failed:
            steps.append(CallStep(name, "not_reached"))
        elif (
            (name == TLS and (base_url or "").startswith("http:"))
            or (name in CONNECTION_STEPS and not shows_connection)
            or (name == AUTHENTICATE and not shows_credential)
        ):
            steps.append(CallStep(name, "not_told"))
        else:
            steps.append(CallStep(name, "passed", details.get(name, "")))
    return tuple(steps)


def describe_base64(endpoint: Endpoint, *, was_refused: bool = False) -> str:
    """Say whether vectors were asked for as base64."""
    if was_refused:
        return "refused: from now on numbers are asked for"
    return "asked for, and read" if endpoint.asks_base64 else "not asked for: numbers are converted here"
