"""One real call to a provider, told step by step: how far it came, where it ended, and what was not reached. Pure.

What a provider wrote is never in it, nor what answered at an address that must not be reached: kinds of failure, our
own sentences, numbers.
"""

from typing import Literal

import msgspec

from providers.outcomes import (
    AnswerCheck,
    BadAnswer,
    ConnectFailed,
    ConnectStep,
    CredentialRefused,
    Failure,
    Misconfigured,
    SpaceMismatch,
    TimedOut,
)
from router.values import Endpoint

Outcome = Literal["passed", "failed", "not_reached", "not_told"]

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
# In the order in which a call meets them.
STEPS = (
    *(CONFIGURE, RESOLVE, GUARD, CONNECT, TLS, AUTHENTICATE, EMBED, NUMBERS),
    *(DIMENSIONS, BASE64, USAGE, MEANING, SPACE),
)
_BY_CONNECT_STEP: dict[ConnectStep, str] = {"resolve": RESOLVE, "guard": GUARD, "connect": CONNECT, "tls": TLS}
_BY_CHECK: dict[AnswerCheck | None, str] = {
    "dimensions": DIMENSIONS,
    "usage": USAGE,
    "norm": NUMBERS,
    "numbers": NUMBERS,
    "number format": NUMBERS,
}
REFUSED = (
    "The address must not be reached ({why}). Networks of your own are opened by GIGAROUTER_ALLOWED_PRIVATE_NETWORKS."
)


class Step(msgspec.Struct, frozen=True):
    """One step. ``not_told``: this kind of provider, or this URL, has no such step that we could see."""

    name: str
    outcome: Outcome
    said: str = ""


def failed_step(failure: Failure) -> str:
    """The step at which a call ended."""
    if isinstance(failure, ConnectFailed | TimedOut) and failure.step is not None:
        return _BY_CONNECT_STEP[failure.step]
    if isinstance(failure, CredentialRefused | Misconfigured):
        return CONFIGURE if failure.status is None else AUTHENTICATE
    if isinstance(failure, SpaceMismatch):
        return SPACE
    if isinstance(failure, BadAnswer):
        return _BY_CHECK.get(failure.check, EMBED)
    return EMBED


def sentence(failure: Failure) -> str:
    """What to tell of a failure, for people; of a refused address, what to do."""
    if isinstance(failure, ConnectFailed) and failure.step == "guard":
        return REFUSED.format(why=failure.refusal)
    what = failure.message or ("no answer in time" if isinstance(failure, TimedOut) else "it failed")
    return f"{type(failure).__name__}: {what}{f' ({failure.detail})' if failure.detail else ''}"


def told(
    base_url: str | None, said: dict[str, str], *, ended: str | None = None, reason: str = "", seen: bool = True
) -> tuple[Step, ...]:
    """All steps of a call: those before ``ended`` have passed, it failed with ``reason``, those after were not reached.

    ``said`` tells more of a step. ``seen`` False: the connection is made by another library, which tells nothing of it.
    """
    steps: list[Step] = []
    has_failed = False
    for name in STEPS:
        if name == ended:
            has_failed = True
            steps.append(Step(name, "failed", reason))
        elif has_failed:
            steps.append(Step(name, "not_reached"))
        elif (name == TLS and (base_url or "").startswith("http:")) or (
            name in (RESOLVE, GUARD, CONNECT, TLS) and not seen
        ):
            steps.append(Step(name, "not_told"))
        else:
            steps.append(Step(name, "passed", said.get(name, "")))
    return tuple(steps)


def base64_told(endpoint: Endpoint) -> str:
    """What became of base64."""
    return "asked for, and read" if endpoint.asks_base64 else "not asked for: numbers are converted here"
