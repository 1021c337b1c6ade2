"""Shows characters that nobody sees as code points, and puts them back where a form that showed them is sent."""

import re

# C0 and C1 but for tab and line feed, marks and overrides of direction, and what has no width.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_OPEN, _CLOSE = "\N{LEFT-POINTING ANGLE BRACKET}", "\N{RIGHT-POINTING ANGLE BRACKET}"
_SHOWN = re.compile(rf"{_OPEN}U\+([0-9A-F]{{4}}){_CLOSE}")


def visible(value: object) -> object:
    """A text with its hidden characters shown as code points; anything else as it is."""
    if isinstance(value, str) and not hasattr(value, "__html__") and not value.isprintable() and _HIDDEN.search(value):
        return _HIDDEN.sub(lambda found: f"{_OPEN}U+{ord(found[0]):04X}{_CLOSE}", value)
    return value


def restored(text: str) -> str:
    """A text from a form that showed it by :func:`visible`, as it was: a text of another script keeps its marks."""
    return _SHOWN.sub(lambda found: chr(int(found[1], 16)) if _HIDDEN.match(chr(int(found[1], 16))) else found[0], text)
