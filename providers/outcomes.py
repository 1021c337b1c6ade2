"""Pure. The ways in which an attempt can fail, sorted by what the router does next, not by status code.

Failure
├── TryElsewhere            counts against the endpoint's health
│   ├── TimedOut            nothing, or not all, arrived in time
│   ├── ConnectFailed       refused, unreachable, TLS, a forbidden address
│   ├── Broken              a 5xx, a redirect, a 403 or 404 of no known code, a body that cannot be read
│   ├── BadAnswer           read, but wrong: count, dimensions, numbers, usage
│   └── Misconfigured       nothing was sent: this process cannot use what is registered; others may
├── TryLater                a matter of quota, not of health; ``retry_after_s`` where the provider gave one
│   ├── Throttled           429
│   ├── Overloaded          503 with Retry-After, our worker's full queue
│   ├── Warming             the model is being loaded: it will be there in ``retry_after_s``
│   └── PassedOver          nothing was sent: our own count says that its quota is used up, or another call tries it
│       └── BeyondQuota     all of its quota for the call's time would not do
├── GiveUp
│   └── CallerFault         the provider refuses what the customer asked; ``message`` is made safe by the kind
│       └── TooLong         one input is longer than the model takes, and our own worker says which and by how much
└── Quarantine              the endpoint gets no traffic until ops have looked
    ├── CredentialRefused   401, 402, 403 with a code: our key or our credit at the provider
    ├── ModelMissing        404 that names the model: the upstream name is wrong
    └── SpaceMismatch       it serves another vector space than it claims
"""

from typing import Literal, TypedDict

from typing_extensions import Unpack

# How far a connection came, and which check an answer failed: for programs, beside the sentences for people.
ConnectStep = Literal["resolve", "guard", "connect", "tls"]
AnswerCheck = Literal["count", "dimensions", "number format", "numbers", "norm", "usage"]


class FailureFacts(TypedDict, total=False):
    """What every failure may be given beside its message."""

    detail: str
    status: int | None
    retry_after_s: float | None


class Failure(Exception):
    """Base of all failures. ``message`` may be shown to a customer; ``detail`` is for the log and in no ``str()``."""

    def __init__(
        self, message: str = "", *, detail: str = "", status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.status = status
        self.retry_after_s = retry_after_s


class TryElsewhere(Failure):
    """Another endpoint of the same space may do better."""


class TimedOut(TryElsewhere):
    """The provider did not answer in time. ``step``: at which one of the connection it was, if it was at one."""

    def __init__(self, message: str = "", *, step: ConnectStep | None = None, **facts: Unpack[FailureFacts]) -> None:
        super().__init__(message, **facts)
        self.step = step


class ConnectFailed(TryElsewhere):
    """The provider could not be reached. ``refusal``: why its address must not be, where the ``step`` is the guard."""

    def __init__(
        self, message: str = "", *, step: ConnectStep = "connect", refusal: str = "", **facts: Unpack[FailureFacts]
    ) -> None:
        super().__init__(message, **facts)
        self.step = step
        self.refusal = refusal


class Broken(TryElsewhere):
    """The provider failed or answered something unreadable."""


class BadAnswer(TryElsewhere):
    """The provider's answer failed a ``check`` of what it says; None where it could not even be read as an answer."""

    def __init__(self, message: str = "", *, check: AnswerCheck | None = None, **facts: Unpack[FailureFacts]) -> None:
        super().__init__(message, **facts)
        self.check = check


class Misconfigured(TryElsewhere):
    """This process cannot speak to the provider as it is registered: its secret key is missing here, for example."""


class TryLater(Failure):
    """The provider has no room for us now."""


class Throttled(TryLater):
    """The provider's rate limit for us is used up."""


class Overloaded(TryLater):
    """The provider has no capacity now."""


class Warming(TryLater):
    """The model is being loaded at the provider."""


class PassedOver(TryLater):
    """The router did not send anything to the endpoint now; so this is no attempt."""


class BeyondQuota(PassedOver):
    """The call needs ``least_s`` seconds of what the provider grants us, and has ``limit_s``: waiting does not help."""

    def __init__(self, message: str, *, least_s: float, limit_s: float) -> None:
        super().__init__(message)
        self.least_s = least_s
        self.limit_s = limit_s


class GiveUp(Failure):
    """No endpoint will do better."""


class CallerFault(GiveUp):
    """The provider refuses the request's content: that of the input ``index`` where it says which.

    ``about_length``: an input is too long for it.
    """

    index: int | None

    def __init__(
        self,
        message: str = "",
        *,
        index: int | None = None,
        about_length: bool = False,
        **facts: Unpack[FailureFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.index = index
        self.about_length = about_length


class TooLong(CallerFault):
    """Input ``index`` has more tokens than ``limit``; ``tokens`` is None where counting stopped early."""

    def __init__(self, *, index: int, tokens: int | None, limit: int, detail: str = "") -> None:
        size = f"{tokens} tokens" if tokens is not None else "too many tokens"
        message = f"Input {index} has {size}; this model takes at most {limit}."
        super().__init__(message, index=index, about_length=True, detail=detail, status=400)
        self.index: int = index
        self.tokens = tokens
        self.limit = limit


class Quarantine(Failure):
    """The endpoint must not get traffic until ops have looked."""


class CredentialRefused(Quarantine):
    """The provider refuses our credential or our credit."""


class ModelMissing(Quarantine):
    """The provider does not know the upstream model."""


class SpaceMismatch(Quarantine):
    """The endpoint serves another vector space."""
