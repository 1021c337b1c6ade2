"""An attempt's inputs with the model's prompt before each, for servers that do not know the prompt."""

from providers.outcomes import CallerFault
from providers.protocol import Attempt


def prompted(attempt: Attempt) -> list[str] | list[list[int]]:
    """Raises CallerFault for token ids with a prompt, which cannot be joined without the tokenizer."""
    if attempt.texts is None:
        if attempt.prefix:
            raise CallerFault(
                "This model puts a prompt before each input, which cannot be done to token ids: send text."
            )
        return attempt.token_ids or []
    return [attempt.prefix + text for text in attempt.texts] if attempt.prefix else attempt.texts
