"""Pure. Reads the billed tokens that vendors write into their answers.

litellm fills in a guess where it finds none, and cannot be asked which of the two it returned; so the answer itself is
read.
"""

from collections.abc import Mapping

import msgspec

from providers.outcomes import BadAnswer

# Where vendors put what they bill: OpenAI and most, Voyage and Jina, Cohere, Titan, Gemini.
_PATHS = (
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
    """The tokens that an answer bills; None where it has no usage. Raises BadAnswer for a usage that is no count."""
    try:
        answer: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    for path in _PATHS:
        if (value := _at(answer, path)) is not None:
            return _count(value)
    if (tokens := _vertex_tokens(answer)) is not None:
        return tokens
    header = headers.get(_HEADER)
    return int(header) if header is not None and header.isdigit() and len(header) < 16 else None


def _vertex_tokens(answer: object) -> int | None:
    """The sum of Vertex AI's counts, one per text in ``:predict``; None where one of them is missing."""
    predictions = _at(answer, ("predictions",))
    if not isinstance(predictions, list) or not predictions:
        return None
    counts = [_at(prediction, ("embeddings", "statistics", "token_count")) for prediction in predictions]
    return None if None in counts else sum(map(_count, counts))


def _at(answer: object, path: tuple[str, ...]) -> object:
    for name in path:
        if not isinstance(answer, dict):
            return None
        answer = answer.get(name)
    return answer


def _count(value: object) -> int:
    """A count of tokens; Cohere's schema has it as a number, not an integer."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_TOKENS:
        raise BadAnswer(detail="a usage that is not a count of tokens")
    return value
