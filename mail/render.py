"""Renders a mail: subject, text and HTML, from one template per kind, so that text and HTML say the same.

A kind's template has blocks: ``subject``, ``first`` (one sentence), ``link`` (what the one link is called) and perhaps
``more`` (paragraphs). Each is rendered twice, with and without autoescape, and the layouts put them together. What is
put into a sentence is one line without control and bidirectional characters, so that no value becomes a header, a line
of its own, or markup.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, TemplateNotFound
from markupsafe import Markup, escape

from mail.outbox import StoredMail
from mail.topics import TOPICS
from mail.values import DEFAULT_LOCALE, Mail, zone_of
from store.ids import AccountId, wire

TEMPLATES = Path(__file__).with_name("templates")
# Marks of directions that a value could leave open, and so turn around the rest of the sentence.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
VALUE_LENGTH_MAX, SUBJECT_LENGTH_MAX = 2000, 200
_URL_SAFE = "/:?#[]@!$&'()*+,;=%~"


class Rendered(msgspec.Struct, frozen=True):
    """What a mail looks like."""

    subject: str
    text: str
    html: str


class Surroundings(msgspec.Struct, frozen=True):
    """What a mail says besides its own facts: where our pages are, and who writes."""

    base_url: str
    house: str = "gigarouter"


def clean(value: object) -> object:
    """A value as it may stand in a sentence: one line, at most 2,000 characters, with marks in place of what hides."""
    if value is None or isinstance(value, Markup | bool | int | float):
        return value
    shown = []
    for character in str(value)[:VALUE_LENGTH_MAX]:
        category = unicodedata.category(character)
        if character in "\r\n\t\v\f" or category in ("Zl", "Zp"):
            shown.append(" ")
        elif category in ("Cc", "Cs") or _BIDI.match(character):
            shown.append(f"<U+{ord(character):04X}>")
        else:
            shown.append(character)
    # No program makes a link of what somebody has called a key or an account.
    return "".join(shown).replace("://", ": //")


def when(zone: ZoneInfo, at: datetime) -> str:
    """A moment in its reader's zone: ``1 Dec 2026, 14:05 (Europe/Berlin)``."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b %Y, %H:%M} ({zone.key})"


def day(at: date) -> str:
    """A day: ``1 Dec 2026``."""
    return f"{at.day} {at:%b %Y}"


def _environment(*, is_html: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=is_html,  # noqa: S701 - the other makes text, in which there is no markup
        undefined=StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["day"] = day
    return environment


_ENVIRONMENTS = {"text": _environment(is_html=False), "html": _environment(is_html=True)}


def _template(environment: Environment, mail: Mail, locale: str) -> Template:
    for language in (locale.partition("-")[0].lower(), DEFAULT_LOCALE):
        try:
            return environment.get_template(f"{mail.kind}.{language}.jinja")
        except TemplateNotFound:
            continue
    raise TemplateNotFound(mail.kind)


def _blocks(environment: Environment, mail: Mail, locale: str, zone: ZoneInfo, house: str) -> dict[str, list[str]]:
    """The paragraphs of each block, each one line."""
    template = _template(environment, mail, locale)
    moment: Callable[[datetime], str] = partial(when, zone)
    context = template.new_context({"mail": mail, "when": moment, "house": house})
    made = {name: "".join(block(context)) for name, block in template.blocks.items()}
    return {
        name: [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())] for name, text in made.items()
    }


def render(stored: StoredMail, mail: Mail, around: Surroundings) -> Rendered:
    """A mail for its reader, in their zone and, where there is a template, their language."""
    zone = zone_of(stored.zone)
    account = "" if stored.account_id is None else wire(AccountId, stored.account_id)
    url, leaving = absolute(mail.link(account), around), unsubscribe_url(stored, around)
    blocks = {form: _blocks(one, mail, stored.locale, zone, around.house) for form, one in _ENVIRONMENTS.items()}
    pages = {}
    for form, environment in _ENVIRONMENTS.items():
        quote_url = escape if form == "html" else _as_is
        pages[form] = environment.get_template(f"layout.{form}.jinja").render(
            subject=_as_is(blocks[form]["subject"][0]),
            first=_as_is(blocks[form]["first"][0]),
            link=_as_is(blocks[form]["link"][0]),
            url=quote_url(url),
            more=[_as_is(paragraph) for paragraph in blocks[form].get("more", []) if paragraph],
            house=around.house,
            topic="" if mail.topic is None else TOPICS[mail.topic],
            leaving=quote_url(leaving),
            locale=stored.locale,
        )
    return Rendered(blocks["text"]["subject"][0][:SUBJECT_LENGTH_MAX], pages["text"], pages["html"])


def _as_is(rendered: str) -> Markup:
    """What was rendered, and cleaned, already."""
    return Markup(rendered)  # noqa: S704 - by a template with autoescape, or for the text


def absolute(link: str, around: Surroundings) -> str:
    """A link as it stands in a mail: paths are of our pages, other addresses stay where they are of the web."""
    if link.startswith(("https://", "http://")):
        return quote(link, safe=_URL_SAFE, errors="replace")
    return f"{around.base_url.rstrip('/')}{quote(link, safe=_URL_SAFE, errors='replace')}"


def unsubscribe_url(stored: StoredMail, around: Surroundings) -> str:
    """Where a reader leaves the mail's topic, at once (RFC 8058) or by a page; empty for what is owed."""
    if stored.unsubscribe_id is None:
        return ""
    return f"{around.base_url.rstrip('/')}/unsubscribe/{stored.unsubscribe_id.hex}"
