"""Pure. Defines the options of a provider of kind ``worker``."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from providers.headers import ExtraHeaders, extra_headers_fault


class WorkerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How calls reach a worker of ours."""

    lane: Annotated[
        Literal["interactive", "batch"],
        Meta(description="batch puts all calls into the worker's low-priority lane; else each goes into its own."),
    ] = "interactive"
    headers: ExtraHeaders = {}

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for what cannot be sent."""
        if fault := extra_headers_fault(self.headers, "authorization"):
            raise ValueError(f"headers: {fault}")
