"""Base of the family: what every error carries, and whose fault it is. Pure."""

from typing import ClassVar

from router.values import Choice


class Refusal(Exception):
    """Base: ``message`` is for the caller and says what to do, ``detail`` is for the log only and never shown.

    ``param`` is the field at fault; ``retry_after_s`` becomes ``Retry-After``: the same call passes by waiting. The
    envelope has ``details``: nothing secret. ``again`` False: no retry helps, where the class does not say so.
    """

    code: ClassVar[str] = "error"
    left_out: tuple[Choice, ...] = ()  # Each endpoint with the reason why it cannot serve, for the explanation.

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        detail: str = "",
        retry_after_s: float | None = None,
        details: dict[str, object] | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
        again: bool = True,
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.detail = message, param, detail
        self.retry_after_s, self.again = retry_after_s, again
        self.details, self.headers = details or {}, headers or []


class Refused(Refusal):
    """The caller can do something about it; nothing was charged."""


class Failed(Refusal):
    """Not the caller's fault; nothing was charged, or the same Idempotency-Key tells."""

    code = "server_error"
