"""Pure. Takes credentials out of a text that an upstream wrote, however it encoded them.

An error page may repeat the request: the credential as it is, percent-encoded, with JSON's or HTML's escapes, as base64
or hex, with tags or line ends inside, or only a part of it. What shares a few characters in a row with a secret is
masked.
"""

import base64
import html
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote

MASK: Final = "[secret]"
# So many characters of a secret in a row are a part of it; a shorter secret is masked whole.
PART_CHARACTERS: Final = 8
DECODINGS_MAX: Final = 4
# One character of a text with what encodes it, or what may stand between two characters of a word that is repeated.
_UNIT = re.compile(
    r"(?P<gap>\s+|<[^<>]{0,200}>|&(?:shy|zwj|zwnj|nbsp|NewLine|Tab);?|&#(?:8203|173|xAD|x200B);?"
    r"|[\u00ad\u200b-\u200d\u2060\ufeff]|\\[nrt])"
    r"|(?P<entity>&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});?)"
    r"|(?P<percent>%[0-9a-fA-F]{2})"
    r"|(?P<escape>\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\"\\/]))"
    r"|(?P<plain>.)",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|\\([\"\\/])")


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every part of a secret masked; decoded where secrets are encoded more than once."""
    needles = _needles(secrets)
    if not needles:
        return text
    redacted, was_found = _masked(text, needles)
    plain = text
    for _ in range(DECODINGS_MAX):
        decoded = _decoded(plain)
        if decoded == plain:
            break
        plain = decoded
        found, is_found = _masked(plain, needles)
        if is_found and not was_found:
            redacted, was_found = found, True
        elif is_found:
            # What the first text shows may be masked, and what it hides not: show what was decoded.
            again, still_hidden = _masked(_decoded(redacted), needles)
            redacted = again if still_hidden else redacted
    return redacted


def _needles(secrets: Iterable[str]) -> dict[int, set[str]]:
    """Parts of every secret, in every encoding, in lower case: by their length."""
    needles: dict[int, set[str]] = {}
    for secret in secrets:
        for form in _forms(secret):
            folded = form.lower()
            size = min(PART_CHARACTERS, len(folded))
            if size:
                parts = {folded[start : start + size] for start in range(len(folded) - size + 1)}
                needles.setdefault(size, set()).update(parts)
    return needles


def _forms(secret: str) -> Iterator[str]:
    """The secret as it is, reversed, in hex, and in base64 wherever it begins among other bytes."""
    secret = secret.strip()
    if not secret:
        return
    yield secret
    if len(secret) < PART_CHARACTERS:
        return
    raw = secret.encode()
    yield secret[::-1]
    yield from _inside(secret)
    yield raw.hex()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        # The first characters depend on the bytes before, the last on those behind.
        inner = encoded[(0, 2, 3)[shift] : len(encoded) - 1]
        if len(inner) >= PART_CHARACTERS:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


def _inside(secret: str) -> Iterator[str]:
    """What a secret in base64 says, as Basic's user and password."""
    try:
        text = base64.b64decode(secret, validate=True).decode("ascii")
    except ValueError:
        return
    if text.isprintable():
        yield from (part for part in (text, *text.split(":")) if len(part) >= PART_CHARACTERS)


def _masked(text: str, needles: dict[int, set[str]]) -> tuple[str, bool]:
    """The text with parts of secrets masked, and whether there were any."""
    units: list[tuple[str, int, int]] = []
    for match in _UNIT.finditer(text):
        if match.lastgroup != "gap":
            units += [(sign, match.start(), match.end()) for sign in _decoded(match.group()).lower()]
    word = "".join(sign for sign, _, _ in units)
    hits = [False] * len(units)
    for size, parts in needles.items():
        for start in range(len(word) - size + 1):
            if word[start : start + size] in parts:
                hits[start : start + size] = [True] * size
    if not any(hits):
        return text, False
    pieces: list[str] = []
    position = place = 0
    while place < len(units):
        if not hits[place]:
            place += 1
            continue
        first = last = place
        while last + 1 < len(units) and hits[last + 1]:
            last += 1
        pieces += (text[position : units[first][1]], MASK)
        position, place = units[last][2], last + 1
    return "".join((*pieces, text[position:])), True


def _decoded(text: str) -> str:
    """One round of HTML's, URLs' and JSON's escapes."""

    def plain(match: re.Match[str]) -> str:
        return match[3] or chr(int(match[1] or match[2], 16))

    return _ESCAPE.sub(plain, unquote(html.unescape(text), errors="replace"))
