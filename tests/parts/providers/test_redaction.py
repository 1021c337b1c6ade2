"""A credential that an upstream repeats is masked, however it is written; what has nothing of it stays as it is."""

import base64
import html
import json
import random
from urllib.parse import quote

import pytest

from providers.redaction import MASK, redact

SECRET = "sk-9f+Ab/Zq71LxMn<0&pQ"
WRITTEN = {
    "as it is": SECRET,
    "in capitals": SECRET.upper(),
    "percent-encoded": quote(SECRET, safe=""),
    "percent-encoded whole": "".join(f"%{byte:02x}" for byte in SECRET.encode()),
    "percent-encoded twice": quote(quote(SECRET, safe=""), safe=""),
    "in HTML": html.escape(SECRET),
    "in HTML twice": html.escape(html.escape(SECRET)),
    "decimal entities": "".join(f"&#{ord(sign)};" for sign in SECRET),
    "hex entities": "".join(f"&#x{ord(sign):X};" for sign in SECRET),
    "tags inside": "<wbr>".join(SECRET.replace("<", "&lt;")),
    "broken over lines": "\n  ".join(SECRET),
    "zero-width blanks": "\u200b".join(SECRET),
    "JSON's escapes": "".join(f"\\u{ord(sign):04x}" for sign in SECRET),
    "slashes escaped": json.dumps(SECRET).replace("/", "\\/"),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 of a header": base64.b64encode(f"Authorization: Bearer {SECRET}\r\n".encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(f"x:{SECRET}".encode()).decode(),
    "hex": SECRET.encode().hex(),
    "backwards": SECRET[::-1],
    "its first half": SECRET[:11],
    "its last half": SECRET[11:],
}


@pytest.mark.parametrize("form", WRITTEN)
def test_no_eight_characters_of_it_are_left(form: str) -> None:
    text = f"Incorrect API key provided: {WRITTEN[form]}. See the page about keys."
    redacted = redact(text, [SECRET])
    assert MASK in redacted
    assert redacted.startswith("Incorrect API key provided: ")
    assert redacted.endswith("See the page about keys.")
    plain = redacted
    for _ in range(3):
        plain = html.unescape(plain)
    assert not any(SECRET[start : start + 8].lower() in plain.lower() for start in range(len(SECRET) - 7))


@pytest.mark.parametrize("secret", ["k", "abc", "hunter2"])
def test_a_short_one_is_masked_whole(secret: str) -> None:
    assert secret not in redact(f"1 {secret} 2", [secret]).replace(MASK, "")


def test_what_has_nothing_of_it_stays() -> None:
    text = '{"error": {"message": "The model `m` does not exist, 100%25 <b>sure</b>", "code": "model_not_found"}}'
    assert redact(text, [SECRET, ""]) == text
    assert redact(text, []) == text


def test_user_and_password_of_basic_are_two_secrets() -> None:
    sent = base64.b64encode(b"operator:correct-horse").decode()
    assert "correct-horse" not in redact("no such password: correct-horse", [sent])


def test_a_hostile_answer_does_not_take_long() -> None:
    seeded = random.Random(7)
    text = "".join(seeded.choice(["<", "&#", "%", "\\u", SECRET[:7], " ", "&lt;"]) for _ in range(4096))
    assert len(redact(text, [SECRET * 4])) < 8 * len(text)
