"""Makes API keys, and checks their form and checksum.

A key is ``gr_live_<8 id>_<32 secret>_<6 checksum>``, all base62, joined by underscores so that a double click takes
the whole of it. The secret is 190 random bits, so a plain SHA-256 is a sound thing to store. The checksum is the
CRC-32 of all that stands before it: it distinguishes a typo from an unknown key without a look-up, and secret scanners
recognize a key of ours offline.
"""

import hashlib
import re
import secrets
from zlib import crc32

import msgspec

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HANDLE_LENGTH = 8
SECRET_LENGTH = 32  # 32 · log2(62) = 190.5 bits
CHECKSUM_LENGTH = 6  # 62^6 > 2^32
LIVE, TEST = "gr_live_", "gr_test_"
OPERATOR = "gr_ops_"
MANAGEMENT = "gr_mgmt_"
FORM = re.compile(r"gr_(?:live|test)_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}")
OPERATOR_FORM = re.compile(r"gr_ops_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}")
MANAGEMENT_FORM = re.compile(r"gr_mgmt_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}")
LENGTH = len(LIVE) + HANDLE_LENGTH + 1 + SECRET_LENGTH + 1 + CHECKSUM_LENGTH


class NewKey(msgspec.Struct, frozen=True):
    """A fresh key. ``text`` leaves us once and is never stored; the database stores the rest."""

    text: str
    handle: str
    last4: str
    digest: bytes


def new_key(*, is_test: bool = False, handle: str | None = None) -> NewKey:
    """A fresh key; ``handle`` keeps a rotated key's public part."""
    return _generate(TEST if is_test else LIVE, handle or _random(HANDLE_LENGTH))


def new_operator_key() -> NewKey:
    """A fresh key of an operator, ``gr_ops_…``: of the same form, for the admin API alone."""
    return _generate(OPERATOR, _random(HANDLE_LENGTH))


def new_management_key() -> NewKey:
    """A fresh management key, ``gr_mgmt_…``: of the same form, to administer an account."""
    return _generate(MANAGEMENT, _random(HANDLE_LENGTH))


def _generate(prefix: str, handle: str) -> NewKey:
    stem = f"{prefix}{handle}_{_random(SECRET_LENGTH)}"
    text = f"{stem}_{checksum(stem)}"
    return NewKey(text=text, handle=handle, last4=text[-4:], digest=digest_of(text))


def checksum(stem: str) -> str:
    """Six base62 digits of the CRC-32 of all that stands before the last underscore."""
    number = crc32(stem.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, rest = divmod(number, 62)
        digits = ALPHABET[rest] + digits
    return digits


def is_well_formed(text: str) -> bool:
    """Whether a text has the form of a key and its checksum fits, without a look-up."""
    return len(text) == LENGTH and FORM.fullmatch(text) is not None and checksum(text[:-7]) == text[-6:]


def is_well_formed_operator(text: str) -> bool:
    """Whether a text has the form of an operator's key and its checksum fits."""
    return OPERATOR_FORM.fullmatch(text) is not None and checksum(text[:-7]) == text[-6:]


def is_well_formed_management(text: str) -> bool:
    """Whether a text has the form of a management key and its checksum fits."""
    return MANAGEMENT_FORM.fullmatch(text) is not None and checksum(text[:-7]) == text[-6:]


def digest_of(text: str) -> bytes:
    """SHA-256 of the whole key, 32 bytes: the database stores it, and a process looks keys up by it."""
    return hashlib.sha256(text.encode(errors="replace")).digest()


def mask(text: str) -> str:
    """The part of a key that an error or a list may contain, ``gr_live_abcd…wxyz``; less of another service's."""
    text = "".join(c if " " < c <= "~" else "?" for c in text[:100])
    if text.startswith((LIVE, TEST, OPERATOR, MANAGEMENT)) and len(text) >= 40:
        return f"{text[:12]}…{text[-4:]}"
    return f"{text[:3]}…" if len(text) >= 20 else "…"


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
