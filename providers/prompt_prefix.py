"""An attempt's inputs with the model's prompt before each, for servers that do not know the prompt."""

from typing import Final

from providers.outcomes import CallerFault
from providers.protocol import Attempt

# The kinds that put a prompt before text themselves, so not before token ids; routing leaves them out of such calls.
TEXT_ONLY_KINDS: Final = frozenset({"openai", "litellm"})


def prompted(attempt: Attempt) -> list[str] | list[list[int]]:
    """Raises CallerFault for token ids with a prompt, which cannot be joined without the tokenizer."""
    if attempt.texts is None:
        if attempt.prefix:
            raise CallerFault(
                "This model puts a prompt before each input, which cannot be done to token ids: send text."
            )
        return attempt.token_ids or []
    return [attempt.prefix + text for text in attempt.texts] if attempt.prefix else attempt.texts
