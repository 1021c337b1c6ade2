"""Tokens by the size of the text, for providers whose usage is none or no count of tokens: UTF-8 bytes by a number.

An operator chooses it per provider. Anyone can compute it from the text, before the call and after; a provider's own
number is then not read at all. No I/O.
"""

from typing import Annotated

import msgspec

from providers.protocol import Attempt, Vectors

# 1 is what a model has that reads bytes; English has 4 to 5 in every other vocabulary in use.
BytesPerToken = Annotated[int, msgspec.Meta(ge=1, le=16)]


def counted(vectors: Vectors, attempt: Attempt, bytes_per_token: int | None) -> Vectors:
    """The answer with the tokens that its texts have by their size; as it is where no size was set."""
    if bytes_per_token is None:
        return vectors
    return msgspec.structs.replace(vectors, tokens=tokens_by_size(attempt, bytes_per_token))


def tokens_by_size(attempt: Attempt, bytes_per_token: int) -> int:
    """Each input's bytes, prompt included, by ``bytes_per_token``, rounded up; token ids are what they are."""
    if attempt.texts is None:
        return sum(map(len, attempt.token_ids or ()))
    prefix_bytes = len(attempt.prefix.encode())
    return sum(-(-(prefix_bytes + len(text.encode())) // bytes_per_token) for text in attempt.texts)
