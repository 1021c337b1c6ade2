"""Pure. The errors of the worker, sorted by who has to act.

WorkerError
├── StartRefused          the operator: the process ends with ``exit_code`` before it serves
│   ├── ModelMissing      no such folder, or the hub does not give it
│   ├── ModelBroken       a file is missing, corrupt, or of a kind that is never loaded
│   ├── TokenizerMismatch the tokenizer and the weights do not belong together
│   ├── LicenseForbids    a variant that no-derivatives weights may not be served as
│   └── InsufficientResources  too little memory or disk, or no such device
├── BadRequest            the caller: 400 with a code
├── Overloaded            the queue is full, or the worker is draining: 503 with Retry-After
├── StepFailed            the device: only the requests of one step fail, 503 with Retry-After
└── OutputInvalid         the model: it gave NaN or nothing for this input, 500
"""

from typing import ClassVar


class WorkerError(Exception):
    """Base. The message is one sentence for its reader and quotes nothing of the input."""


class StartRefused(WorkerError):
    """The worker cannot serve this model here."""

    exit_code: ClassVar[int] = 2


class ModelMissing(StartRefused):
    """The model is neither a folder nor something that the hub gives."""

    exit_code = 3


class ModelBroken(StartRefused):
    """A needed file is missing, unreadable or not allowed."""

    exit_code = 4


class TokenizerMismatch(StartRefused):
    """The tokenizer can make ids that the weights have no row for, or lacks the end token."""

    exit_code = 5


class LicenseForbids(StartRefused):
    """The model's license does not let this variant be served under its name."""

    exit_code = 6


class InsufficientResources(StartRefused):
    """The memory or disk is too small, or the device does not exist."""

    exit_code = 7


class BadRequest(WorkerError):
    """The caller asked for something that the model cannot do. ``details`` goes into the envelope as it is."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_request",
        param: str | None = None,
        details: dict[str, int] | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.details = details or {}
        self.status = status


class Overloaded(WorkerError):
    """The worker has no room now; ``retry_after_s`` says when it will have some."""

    code: ClassVar[str] = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutputInvalid(WorkerError):
    """The model's numbers for this input are not a vector; sending the input again will not help."""

    code: ClassVar[str] = "model_output_invalid"


class StepFailed(Overloaded):
    """The device failed during this request; nothing was delivered, and the request may be sent again."""

    code = "step_failed"
