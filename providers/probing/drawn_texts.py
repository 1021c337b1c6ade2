"""Pure. Draws probe texts that nobody can know beforehand: from a seed that is new for each verification.

The published probe texts (:mod:`providers.probing.probe_texts`) can be learned by a server that wants to look right.
Drawn texts have the words of the published ones, letters that make no word, numbers, other scripts, other cases, and
beginnings that several texts share. What their vectors should be is asked of a second endpoint at the same time.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Final, TypeVar

from providers.probing.probe_texts import InputType, ProbeSet, ProbeText, probe_set

T = TypeVar("T")

# Longer ones take a CPU minutes; a model that takes more is probed so far.
LONGEST_TOKENS: Final = 32_768
LARGEST_BATCH: Final = 2_048
SHARED_BEGINNING_WORDS: Final = 40
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
# The first letters of a few scripts, and how many stand in a row.
_SCRIPTS: Final = ((0x0430, 32), (0x03B1, 25), (0x0627, 28), (0x05D0, 27), (0x3042, 80), (0x4E00, 2000), (0x0915, 37))


class Drawer:
    """Draws numbers, words and texts; the same seed draws the same."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._drawn = 0

    def number(self, below: int) -> int:
        """A number from 0 on, below ``below``, all about equally likely."""
        self._drawn += 1
        digest = hashlib.blake2b(self._drawn.to_bytes(8, "big"), key=self._seed, digest_size=8).digest()
        return int.from_bytes(digest, "big") % below

    def one_of(self, things: Sequence[T]) -> T:
        """One of several things."""
        return things[self.number(len(things))]

    def word(self) -> str:
        """A word of English, some letters, or a number."""
        kind = self.number(10)
        if kind < 7:
            word = self.one_of(_words())
            return (word, word.capitalize(), word.upper())[self.number(8) % 3 if kind == 0 else 0]
        if kind == 7:
            return str(self.number(10 ** (1 + self.number(6))))
        return "".join(self.one_of(_LETTERS) for _ in range(2 + self.number(8)))

    def text(self, words: int) -> str:
        """A text of so many words, with some signs between them."""
        return " ".join(self.word() + ("", "", "", ",", ".", "?")[self.number(6)] for _ in range(words))

    def foreign_text(self, words: int) -> str:
        """A text of so many words in one of a few scripts."""
        first, letters = self.one_of(_SCRIPTS)
        return " ".join(
            "".join(chr(first + self.number(letters)) for _ in range(1 + self.number(8))) for _ in range(words)
        )


def drawn_set(seed: bytes) -> ProbeSet:
    """Texts of all lengths up to some sixty words, in their groups; the order of groups is drawn as well."""
    drawer = Drawer(seed)
    texts: list[tuple[str, str, InputType | None]] = [
        ("words", drawer.text(1 + drawer.number(6)), None) for _ in range(8)
    ]
    texts += [("sentences", drawer.text(8 + drawer.number(50)), None) for _ in range(8)]
    texts += [("script", drawer.foreign_text(2 + drawer.number(12)), None) for _ in range(5)]
    cased = drawer.text(12)
    texts += [("case", cased.title(), None), ("case", cased.lower(), None)]
    beginning = drawer.text(SHARED_BEGINNING_WORDS)
    texts += [("shared beginning", f"{beginning} {drawer.text(3)}", None) for _ in range(4)]
    twice = drawer.text(9)
    texts += [("twice", twice, None), ("twice", twice, None)]
    texts = sorted(texts, key=lambda one: hashlib.blake2b(repr(one).encode(), key=seed, digest_size=8).digest())
    texts += [("query", drawer.text(5), "query"), ("document", drawer.text(15), "document")]
    return ProbeSet("drawn", tuple(ProbeText(group, text, kind) for group, text, kind in texts))


def short_texts(seed: bytes, count: int) -> ProbeSet:
    """So many short texts, each another one, for the largest batch that an endpoint may get."""
    drawer = Drawer(seed + b"short")
    texts = (f"{drawer.word()} {number}{drawer.one_of(_LETTERS)}" for number in range(count))
    return ProbeSet("short", tuple(ProbeText("batch", text) for text in texts))


def long_words(seed: bytes, count: int) -> list[str]:
    """The words of a long text, none of which is the one before it."""
    drawer = Drawer(seed + b"long")
    return [drawer.word() for _ in range(count)]


@cache
def _words() -> tuple[str, ...]:
    """The words of the published long texts."""
    texts = probe_set(LONGEST_TOKENS)
    found = {word.strip(".,;:") for row in texts.group("long") for word in texts.probes[row].text.split()}
    return tuple(sorted(word for word in found if word.isalpha()))
