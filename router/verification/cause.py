"""Says what a test called and what came back, for the operator who made it.

Upstream's own words are shown to the operator in the test's answer, with our credentials masked, and nowhere else: no
log, no audit row and no reason of an endpoint has them.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from providers.outcomes import BadAnswer, Failure
from providers.redaction import redact
from providers.wire import Exchange

WORDS_CHARACTERS_MAX: Final = 300
# So much of an answer is looked at: a page of scripts is not worth a second of CPU.
BODY_BYTES_READ: Final = 16 * 1024
_INVISIBLE = re.compile(r"<(script|style|svg|template)\b[^<>]*>.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_SECRET_PARAMETER = re.compile(r"(?<=[?&])([^=&]*(?:key|token|secret|sig|password)[^=&]*|code)=[^&]*", re.IGNORECASE)


class UpstreamAnswer(msgspec.Struct, frozen=True):
    """The call that decided a test. ``status``: None where no answer came. ``words``: upstream's own, cut; or None.

    ``leads_to`` is where a redirect would lead, which is followed nowhere. ``is_html``: a page for people came.
    """

    method: str
    url: str
    status: int | None
    content_type: str | None
    words: str | None
    leads_to: str | None = None
    is_html: bool = False


def deciding_answer(
    exchanges: Iterable[Exchange], failure: Failure | None, *, is_failed: bool
) -> UpstreamAnswer | None:
    """The call that decided a test: the last that failed where it did, else the last; None where nothing was sent.

    ``failure`` is that of the call, None where it was answered and something else than the answer's form is wrong.
    """
    sent = list(exchanges)
    if not sent:
        return None
    failed = [one for one in sent if one.status is None or one.status >= 300]
    chosen = failed[-1] if failed and is_failed else sent[-1]
    # Vectors tell a person nothing: words are of an answer that could not be read.
    is_readable = not is_failed or failure is None or (isinstance(failure, BadAnswer) and failure.check is not None)
    shows_words = chosen.status is not None and (chosen.status >= 300 or not (is_readable or chosen.is_for_token))
    location = _text(chosen.headers.get(b"location", b""))
    content_type = _text(chosen.headers.get(b"content-type", b""))[:100]
    return UpstreamAnswer(
        method=chosen.method,
        url=redact(_SECRET_PARAMETER.sub(r"\1=…", chosen.url), chosen.secrets),
        status=chosen.status,
        content_type=content_type or None,
        words=upstream_words(chosen.body, chosen.secrets) if shows_words else None,
        leads_to=redact(_place(location), chosen.secrets)[:WORDS_CHARACTERS_MAX] or None,
        is_html="html" in content_type.lower() or chosen.body.lstrip()[:1] == b"<",
    )


def upstream_words(body: bytes, secrets: Iterable[str]) -> str:
    """The beginning of what came back, in one line, without what is secret; of a page what a person would see."""
    listed = tuple(secrets)
    text = body[:BODY_BYTES_READ].decode("utf-8", errors="replace")
    if text.lstrip()[:1] == "<":
        # Masked before tags are taken out as well, since a tag may hold what is secret and so may what it parts.
        text = redact(_TAG.sub(" ", _INVISIBLE.sub(" ", redact(text, listed))), listed)
        text = re.sub(r"&nbsp;?", " ", text)
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in redact(text, listed)).split())
    return line if len(line) <= WORDS_CHARACTERS_MAX else f"{line[:WORDS_CHARACTERS_MAX]}…"


def _place(location: str) -> str:
    """Where a redirect leads, without what a login page is given: a session or a ticket is anyone's who reads it."""
    place, has_more, _ = re.sub(r"(?<=//)[^/?#]*@", "…@", location).partition("?")
    return f"{place.partition('#')[0]}?…" if has_more else place.partition("#")[0]


def _text(value: bytes) -> str:
    return "".join(sign for sign in value.decode("latin-1") if sign.isprintable())
