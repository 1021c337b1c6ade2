"""Texts whose tokens are known exactly, by a tokenizer that is as uneven as real ones are."""

import re
from typing import Final

# A word and the space before it, a run of one character, an ideograph, or any other byte.
_TOKEN: Final = re.compile("( ?[a-z]{1,8}| {1,16}|(.)\\2{7}|[\u4e00-\u9fff])", re.DOTALL)

PROSE: Final = "the quick brown fox jumps over the lazy dog and then sleeps in the warm afternoon sun "
EMOJI: Final = "\U0001f9d1\u200d\U0001f680"
CJK: Final = "\u6570\u636e\u4e0e\u610f\u4e49"


def exact_tokens(text: str) -> int:
    """How many tokens a text has: one for a word, for sixteen spaces or a run of eight, one for every other byte."""
    matched = _TOKEN.findall(text)
    rest = _TOKEN.sub("", text)
    return max(1, len(matched) + len(rest.encode()))
