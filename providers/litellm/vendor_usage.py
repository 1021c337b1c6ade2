"""Billed tokens as vendors write them into their own answers. No I/O.

litellm fills in a guess where it finds none, and cannot be asked which it was; so the answer itself is read.
"""

from collections.abc import Mapping

import msgspec

from providers.outcomes import BadAnswer

# Where vendors put what they bill: OpenAI and most, Voyage and Jina, Cohere, Titan, Gemini.
_PLACES = (
    ("usage", "prompt_tokens"),
    ("usage", "total_tokens"),
    ("meta", "billed_units", "input_tokens"),
    ("inputTextTokenCount",),
    ("usageMetadata", "promptTokenCount"),
)
# Bedrock puts it here for the models whose answer has none.
_HEADER = b"x-amzn-bedrock-input-token-count"
_MOST_TOKENS = 2**53


def billed_tokens(headers: Mapping[bytes, bytes], body: bytes | bytearray) -> int | None:
    """The tokens that an answer says it bills; None where it says nothing. Raises BadAnswer for nonsense."""
    try:
        answer: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    for place in _PLACES:
        if (found := _at(answer, place)) is not None:
            return _count(found)
    if (each := _vertex(answer)) is not None:
        return each
    header = headers.get(_HEADER)
    return int(header) if header is not None and header.isdigit() and len(header) < 16 else None


def _vertex(answer: object) -> int | None:
    """Vertex AI's ``:predict`` counts each text by itself; None where one of them tells nothing."""
    predictions = _at(answer, ("predictions",))
    if not isinstance(predictions, list) or not predictions:
        return None
    each = [_at(one, ("embeddings", "statistics", "token_count")) for one in predictions]
    return None if None in each else sum(map(_count, each))


def _at(answer: object, place: tuple[str, ...]) -> object:
    for name in place:
        if not isinstance(answer, dict):
            return None
        answer = answer.get(name)
    return answer


def _count(found: object) -> int:
    """Cohere's are numbers, not integers, by its own schema."""
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _MOST_TOKENS:
        raise BadAnswer(detail="a usage that is not a count of tokens")
    return found
