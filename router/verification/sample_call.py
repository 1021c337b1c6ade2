"""Makes one real call to an endpoint, to see whether it answers with vectors that could be delivered.

The answer passes the checks of every customer's answer and of its usage, and two equal texts have to lie closer than
two different ones. Whether the vectors are of the model's space is :mod:`router.verification.compare`'s question.
"""

import msgspec
import numpy as np

from catalog.values import Model
from providers.outcomes import BadAnswer, Broken, CallerFault, Failure
from providers.protocol import Provider, ProviderKind
from providers.wire import Exchanges, recording
from router.dispatch.attempt import build_attempt
from router.dispatch.validate import usage_fault, validate_vectors
from router.registry.indexes import ProviderRecord
from router.values import EmbedRequest, Endpoint
from router.verification.call_steps import MEANING, STEPS, describe_failure, failed_step
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
SAME_TEXT_COSINE_MIN = 0.999
DEADLINE_S = 30.0
# What a server may answer to a field that it does not know; 200 with an error inside.
_REFUSALS = frozenset({200, 400, 415, 422, 500, 501, 502})


class SampleCallResult(msgspec.Struct, frozen=True):
    """What came of a sample call; ``reason`` is empty where it passed. ``space`` is the provider's own name of it.

    ``failure`` is set where the provider gave no answer that passes the checks. ``base64_refused``: it passed with
    numbers, and does not with base64.
    """

    reason: str = ""
    dimensions: int | None = None
    tokens: int | None = None
    space: str | None = None
    failure: Failure | None = None
    base64_refused: bool = False

    @property
    def passed(self) -> bool:
        """Whether the endpoint could take traffic."""
        return not self.reason


async def make_sample_call(
    provider: Provider, endpoint: Endpoint, model: Model, deadline_s: float = DEADLINE_S
) -> SampleCallResult:
    """Embed :data:`TEXTS` and check the answer. A provider's failure is in the result, not raised."""
    request = EmbedRequest(model.id, TEXTS, None, "float", None, None, None)
    attempt = build_attempt(endpoint, request, model, RequestId(new_id()))
    try:
        vectors = await provider.embed(attempt, deadline_s)
        validate_vectors(vectors, attempt, model)
        if wrong := usage_fault(TEXTS, vectors):
            raise BadAnswer("the provider's answer failed the check of its usage", check="usage", detail=wrong)
    except Failure as failure:
        return SampleCallResult(describe_failure(failure), failure=failure)
    rows = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    same, other = float(rows[0] @ rows[1]), float(rows[0] @ rows[2])
    if same < SAME_TEXT_COSINE_MIN or other >= same:
        return SampleCallResult(f"the same text twice has a cosine of {same:.4f}, another text {other:.4f}")
    return SampleCallResult("", vectors.matrix.shape[1], vectors.tokens, vectors.space)


async def make_sample_call_either_way(
    provider: Provider, endpoint: Endpoint, model: Model, record: ProviderRecord, exchanges: Exchanges
) -> SampleCallResult:
    """As :func:`make_sample_call`; where base64 may be what is refused, numbers are asked for instead.

    Base64 is asked for once more after that, so that a fault that has passed is not taken for a refusal. What decided
    is the first call, unless numbers came and fail at a later step: then ``exchanges`` has that call instead.
    """
    result = await make_sample_call(provider, endpoint, model)
    if result.failure is None or not endpoint.asks_base64 or not may_refuse_base64(result.failure, record):
        return result
    with recording() as second:
        floats = await make_sample_call(provider, msgspec.structs.replace(endpoint, asks_base64=False), model)
        if not floats.passed:
            if _step(floats) <= _step(result):
                return result
            exchanges.clear()
            exchanges.extend(second)
            return floats
        again = await make_sample_call(provider, endpoint, model)
    return result if again.passed else msgspec.structs.replace(floats, base64_refused=True)


def _step(result: SampleCallResult) -> int:
    """How far a call came that failed."""
    return STEPS.index(MEANING if result.failure is None else failed_step(result.failure))


def may_refuse_base64(failure: Failure, record: ProviderRecord) -> bool:
    """Whether the failure may come from ``encoding_format``, which is sent to OpenAI-compatible servers alone."""
    if record.kind != ProviderKind.OPENAI or record.options.get("asks_base64") is False:
        return False
    match failure:
        case BadAnswer():
            return failure.check not in ("count", "usage")
        case CallerFault() | Broken():
            return failure.status in _REFUSALS
        case _:
            return False
