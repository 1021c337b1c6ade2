"""Pure. Defines what the router sees of a provider: the protocol :class:`Provider` and the values it takes and returns.

What every kind does to those values in the same way stands with them: the prompt before each text, and tokens by the
size of the text. A provider knows no key, no money and no customer.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from providers.model_list import ListedModel
from providers.outcomes import CallerFault


class ProviderKind(StrEnum):
    """The kinds of providers, by how we speak to each; :mod:`providers.kinds` constructs them."""

    OPENAI = "openai"
    LITELLM = "litellm"
    WORKER = "worker"
    SANDBOX = "sandbox"


# The kinds that put a prompt before text themselves, so not before token ids; routing leaves them out of such calls.
TEXT_ONLY_KINDS: Final = frozenset({ProviderKind.OPENAI.value, ProviderKind.LITELLM.value})

FloatMatrix = npt.NDArray[np.float32]

# 1 is what a model has that reads bytes; English has 4 to 5 in every other vocabulary in use.
BytesPerToken = Annotated[
    int,
    msgspec.Meta(
        ge=1,
        le=16,
        description="Bill each text's UTF-8 bytes by this number, 4 is usual, and do not read the provider's usage.",
    ),
]


class Attempt(msgspec.Struct, frozen=True):
    """One attempt of a call at one endpoint. Exactly one of ``texts`` and ``token_ids`` is set.

    ``prefix`` is the prompt for the call's input type; a provider with a native input type gets ``input_type`` and no
    prefix. ``dimensions`` is the expected width of the vectors, None where it is not known; no provider is sent it.
    ``lane`` is for providers that have a queue for each lane.
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

    def inputs_with_prompt(self) -> list[str] | list[list[int]]:
        """The inputs with :attr:`prefix` before each, for servers that do not know the model's prompt.

        Raises CallerFault for token ids with a prompt, which cannot be joined without the tokenizer.
        """
        if self.texts is None:
            if self.prefix:
                raise CallerFault(
                    "This model puts a prompt before each input, which cannot be done to token ids: send text."
                )
            return self.token_ids or []
        return [self.prefix + text for text in self.texts] if self.prefix else self.texts

    def tokens_by_size(self, bytes_per_token: int) -> int:
        """Each text's UTF-8 bytes, prompt included, divided by ``bytes_per_token`` and rounded up; ids count as one.

        Anyone can compute it from the text, before the call and after.
        """
        if self.texts is None:
            return sum(map(len, self.token_ids or ()))
        prefix_bytes = len(self.prefix.encode())
        return sum(-(-(prefix_bytes + len(text.encode())) // bytes_per_token) for text in self.texts)


class Vectors(msgspec.Struct, frozen=True):
    """A provider's answer: ``matrix`` is [inputs, dimensions], float32, rows in the order of the inputs.

    ``tokens`` is the provider's own usage; None where it gave none. ``exact``: the count is by the model's own
    tokenizer in a process of ours, so that it may be billed as it is. ``space`` is the vector space that the provider
    names, None where it names none. ``guessed``: in an answer joined from chunks, ``tokens`` has our guess for chunks
    without usage. ``by_size``: ``tokens`` are the text's bytes by an operator's number, and no tokenizer's.
    """

    matrix: FloatMatrix
    tokens: int | None
    exact: bool = False
    space: str | None = None
    guessed: bool = False
    by_size: bool = False

    def with_tokens_by_size(self, attempt: Attempt, bytes_per_token: int | None) -> "Vectors":
        """The same vectors with :meth:`Attempt.tokens_by_size` for usage; unchanged where no size was set."""
        if bytes_per_token is None:
            return self
        return msgspec.structs.replace(self, tokens=attempt.tokens_by_size(bytes_per_token), by_size=True)


class Provider(Protocol):
    """One registered provider of one kind. Raises only :mod:`providers.outcomes`; cancellation passes through."""

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        """Embed within ``deadline_s`` seconds from now. Never retries, never follows a redirect."""
        ...

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        """Count the attempt's tokens by the model's own tokenizer; None where this kind cannot."""
        ...

    async def list_models(self, deadline_s: float) -> tuple[ListedModel, ...] | None:
        """Ask which models the provider has; None where this kind has no list. Raises as :meth:`embed`."""
        ...

    async def close(self) -> None:
        """Close pooled connections."""
        ...
