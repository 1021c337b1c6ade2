"""One real attempt at an endpoint, for operators: does it answer, with something that could be delivered.

It is what every call checks, done once by hand. Whether the vectors are those of the model's space is not asked here.
"""

import msgspec
import numpy as np

from catalog.values import Model
from providers.outcomes import BadAnswer, Failure
from providers.protocol import Provider
from router.dispatch.attempt import build_attempt
from router.dispatch.validate import check, miscount
from router.values import EmbedRequest, Endpoint
from store.ids import RequestId, new_id

# The same text twice and another one: what tells a model from random numbers without knowing the model. And one long
# enough to tell characters from tokens, which still fits into the 77 tokens of the shortest models.
TEXTS = [
    "A cat sits on the mat.",
    "A cat sits on the mat.",
    "The central bank raised interest rates.",
    "The harbor of the small town had two piers. On the northern one the fishing boats landed before sunrise, and the "
    "auction was over by the time the bakery opened. The southern one belonged to the ferry, which brought flour.",
]
SAME_MIN = 0.999


class Verdict(msgspec.Struct, frozen=True):
    """How the attempt went; ``reason`` is empty where it went well. ``space`` is what the provider calls its own.

    ``failure`` is what the provider made of it, where it was no answer that passes the checks.
    """

    reason: str = ""
    dimensions: int | None = None
    tokens: int | None = None
    space: str | None = None
    failure: Failure | None = None

    @property
    def passed(self) -> bool:
        """Whether the endpoint could take traffic."""
        return not self.reason


def reason_of(failure: Failure) -> str:
    """A failure in one line for operators: its kind, and what was read of it; nothing that a provider wrote."""
    what = failure.message or "it failed"
    return f"{type(failure).__name__}: {what}{f' ({failure.detail})' if failure.detail else ''}"


async def probe(provider: Provider, endpoint: Endpoint, model: Model, deadline_s: float = 30.0) -> Verdict:
    """Embed a few short texts. Raises nothing of the provider's."""
    request = EmbedRequest(model.id, TEXTS, None, "float", None, None, None)
    attempt = build_attempt(endpoint, request, model, RequestId(new_id()))
    try:
        vectors = await provider.embed(attempt, deadline_s)
        check(vectors, attempt, model)
        if wrong := miscount(TEXTS, vectors):
            raise BadAnswer("the provider's answer failed the check of its usage", detail=wrong)
    except Failure as failure:
        return Verdict(reason_of(failure), failure=failure)
    rows = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    same, other = float(rows[0] @ rows[1]), float(rows[0] @ rows[2])
    if same < SAME_MIN or other >= same:
        return Verdict(f"the same text twice has a cosine of {same:.4f}, another text {other:.4f}")
    return Verdict("", vectors.matrix.shape[1], vectors.tokens, vectors.space)
