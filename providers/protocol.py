"""What can embed, as the router sees it: one protocol, two values. Knows no key, no money, no customer."""

from enum import StrEnum
from typing import Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt


class ProviderKind(StrEnum):
    """How we speak to a provider; :mod:`providers.kinds` builds each."""

    OPENAI = "openai"
    LITELLM = "litellm"
    WORKER = "worker"
    SANDBOX = "sandbox"


FloatMatrix = npt.NDArray[np.float32]


class Attempt(msgspec.Struct, frozen=True):
    """One try of a call at one endpoint. Exactly one of ``texts`` and ``token_ids`` is set.

    ``prefix`` is the prompt that was chosen for the call's input type; a provider that has its own notion of
    input types gets ``input_type`` instead and no prefix. ``dimensions`` is how wide the answer is expected to be,
    which nobody upstream is asked for; None: not known. ``lane`` is for providers that have a queue to put it in.
    """

    request_id: str
    upstream_model: str
    texts: list[str] | None = None
    token_ids: list[list[int]] | None = None
    dimensions: int | None = None
    input_type: str | None = None
    prefix: str = ""
    asks_base64: bool = True
    lane: Literal["interactive", "batch"] = "interactive"

    @property
    def inputs(self) -> int:
        """How many vectors the answer must have."""
        return len(self.texts if self.texts is not None else self.token_ids or ())


class Vectors(msgspec.Struct, frozen=True):
    """A provider's answer: ``matrix`` is [inputs, dimensions], float32, rows in the order of the inputs.

    ``tokens`` is the provider's own usage; None where it gave none. ``exact`` says that the count is by the model's
    own tokenizer in a process of ours, so that it may be billed as it is. ``space`` is what the provider says it
    serves, where it can say so. ``guessed`` is for who joins answers: ``tokens`` has our guess for parts without usage.
    """

    matrix: FloatMatrix
    tokens: int | None
    exact: bool = False
    space: str | None = None
    guessed: bool = False


class Provider(Protocol):
    """One registered provider of one kind. Raises only :mod:`providers.outcomes`; cancellation passes through."""

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        """Embed within ``deadline_s`` seconds from now. Never retries, never follows a redirect."""
        ...

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        """Exact tokens of the attempt's inputs by the model's own tokenizer; None where this kind cannot tell."""
        ...

    async def close(self) -> None:
        """Close pooled connections."""
        ...
