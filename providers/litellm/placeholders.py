"""What litellm gets to see in place of a customer's texts, and the texts put back before a request leaves. No I/O.

litellm looks into texts: one that begins with ``files/`` it fetches with our credential and embeds the file, one that
begins with ``data:`` it sends as a picture, ``gs://`` and ``s3://`` name our own storage to a vendor. A text of a
customer's is never more than a text, so it passes litellm as a stand-in that means nothing.
"""

import re

import msgspec

from providers.outcomes import Broken, CallerFault

_STAND_IN = re.compile(rb'"input-(\d{1,9})-of-gigarouter"')
# Where a request is signed over its body, texts must be in it from the start: those with a meaning are refused.
_REFERENCES = ("data:", "s3://")

_ENCODE = msgspec.json.Encoder().encode


class StandIns:
    """The stand-ins of one call's texts; each may go out once."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self._sent: set[int] = set()

    @property
    def names(self) -> list[str]:
        """What to hand over instead of the texts, in their order."""
        return [f"input-{number}-of-gigarouter" for number in range(len(self._texts))]

    def put_back(self, body: bytes) -> bytes:
        """A request's JSON with the texts in it again. Raises Broken for an input that goes out a second time."""
        return _STAND_IN.sub(self._text, body)

    def check_all_sent(self) -> None:
        """Raises Broken when a text was left out, or changed so that its stand-in could not be found."""
        if len(self._sent) != len(self._texts):
            raise Broken(detail=f"litellm sent {len(self._sent)} of {len(self._texts)} inputs")

    def _text(self, found: re.Match[bytes]) -> bytes:
        number = int(found[1])
        if number in self._sent or number >= len(self._texts):
            raise Broken(detail="litellm would send an input twice")
        self._sent.add(number)
        return _ENCODE(self._texts[number])


def refuse_references(texts: list[str]) -> None:
    """For requests that are signed over their body. Raises CallerFault for a text that litellm takes for a file."""
    for index, text in enumerate(texts):
        if text.startswith(_REFERENCES):
            raise CallerFault(
                f"Input {index} begins like the address of a file, which this provider's interface takes for the file "
                "and not for text. Put something in front of it.",
                detail="a text that litellm gives a meaning",
            )
