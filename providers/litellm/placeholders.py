"""Pure. Replaces a customer's texts by placeholders for litellm, and puts the texts back before a request is sent.

litellm interprets texts: it fetches one that begins with ``files/`` with our credential and embeds the file, it sends
one that begins with ``data:`` as a picture, and ``gs://`` and ``s3://`` name our own storage to a vendor. A customer's
text is only ever text, so it passes litellm as a placeholder that has no meaning.
"""

import re

import msgspec

from providers.outcomes import Broken, CallerFault

_PLACEHOLDER = re.compile(rb'"input-(\d{1,9})-of-gigarouter"')
# Where a request is signed over its body, texts must be in it from the start: those with a meaning are refused.
_REFERENCES = ("data:", "s3://")

_ENCODE = msgspec.json.Encoder().encode


class Placeholders:
    """The placeholders of one call's texts; each may be sent once."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self._sent: set[int] = set()

    @property
    def names(self) -> list[str]:
        """The placeholders, in the order of the texts."""
        return [f"input-{number}-of-gigarouter" for number in range(len(self._texts))]

    def restore(self, body: bytes) -> bytes:
        """Put the texts back into a request's JSON. Raises Broken for an input that would be sent a second time."""
        return _PLACEHOLDER.sub(self._text, body)

    def check_all_sent(self) -> None:
        """Raise Broken where a text was left out, or changed so that its placeholder was not found."""
        if len(self._sent) != len(self._texts):
            raise Broken(detail=f"litellm sent {len(self._sent)} of {len(self._texts)} inputs")

    def _text(self, match: re.Match[bytes]) -> bytes:
        number = int(match[1])
        if number in self._sent or number >= len(self._texts):
            raise Broken(detail="litellm would send an input twice")
        self._sent.add(number)
        return _ENCODE(self._texts[number])


def refuse_references(texts: list[str]) -> None:
    """Refuse texts that litellm takes for files, where the request is signed over its body. Raises CallerFault."""
    for index, text in enumerate(texts):
        if text.startswith(_REFERENCES):
            raise CallerFault(
                "An input begins like the address of a file, which this provider's interface takes for the file and "
                "not for text. Put something in front of it.",
                index=index,
                detail="a text that litellm gives a meaning",
            )
