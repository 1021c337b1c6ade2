"""What mails say: the golden text of each kind, the same in text and HTML, and whatever is put in stays text."""

import html
import re
from email import message_from_bytes
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from mail.kinds import ALL, DocumentReference, Invitation, KeyCreated
from mail.message import Envelope, message_of
from mail.render import Rendered, Surroundings, render
from mail.topics import TOPICS
from mail.values import Mail, Recipient, Topic, is_address
from tests.builders.example_mails import AT, EXAMPLES, stored

GOLDEN = Path(__file__).with_name("golden.txt")
AROUND = Surroundings("https://house.example")
HOSTILE = (
    "<script>alert(1)</script>",
    "</h1><img src=https://evil.example/x>",
    "a\r\nBcc: everybody@evil.example",
    "\u202egnp.exe\u2066",
    "x" * 80,
    "名" * 80,
    "{{ 7 * 7 }} {% raw %}",
    '" onmouseover="x',
    "https://evil.example/free-credit",
    "\x00\x1b[2J\u2028line\u2029line\n\n\nparagraph",
    "مرحبا",
    "%s %(a)s {0}",
    "\ud800",
)


class _Words(HTMLParser):
    """Reads HTML as a person does: words, and where a link leads."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._skips = ""
        self._href = ""

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._skips = tag if tag in ("style", "title") else ""
        self._href = next((value or "" for name, value in attrs if name == "href"), "")

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self.words.append(f": {self._href}")
        self._skips = ""

    @override
    def handle_data(self, data: str) -> None:
        if not self._skips:
            self.words.append(data)


def read(page: str) -> _Words:
    words = _Words()
    words.feed(page)
    return words


def plain(text: str) -> str:
    return "".join(text.split())


def assert_same(rendered: Rendered) -> None:
    """The text says what the HTML says."""
    assert plain(rendered.text.replace("\n-- \n", "\n")) == plain("".join(read(rendered.html).words))


def test_every_kind_has_an_example_and_every_topic_its_words() -> None:
    assert {type(one) for one in EXAMPLES} == set(ALL) - {DocumentReference}
    assert set(TOPICS) == set(Topic)


def test_mails_say_what_is_written_down() -> None:
    pages = []
    for mail in EXAMPLES:
        rendered = render(stored(mail), mail, AROUND)
        assert_same(rendered)
        assert len(re.findall(r"https://\S+", rendered.text)) == (1 if mail.topic is None else 2), "one link"
        pages.append(f"==== {mail.kind}\nSubject: {rendered.subject}\n\n{rendered.text.strip()}\n")
    found = "\n".join(pages)
    assert found == GOLDEN.read_text()


def test_an_operators_invitation_names_no_account_and_nobody_of_the_machine() -> None:
    mail = Invitation(account_name="", role="finance_admin", by="cli:root", path="/sign-in/operator/0199a3f0", until=AT)
    rendered = render(stored(mail), mail, AROUND)
    assert_same(rendered)
    assert rendered.subject == "You are invited to operate gigarouter"
    assert "as finance admin" in rendered.text
    assert "cli:root" not in rendered.text


@pytest.mark.parametrize("kind", ["document_issued", "invoice_overdue"])
def test_documents_are_mailed_in_their_payers_language(kind: str) -> None:
    [mail] = [one for one in EXAMPLES if one.kind == kind]
    rendered = render(stored(mail, locale="de-AT"), mail, AROUND)
    assert_same(rendered)
    assert "Zum Dokument: https://house.example/" in rendered.text
    assert 'lang="de-AT"' in rendered.html


def test_moments_are_in_the_readers_zone_and_an_unknown_zone_is_utc() -> None:
    [mail] = [one for one in EXAMPLES if one.kind == "key_expiring"]
    shown = {zone: render(stored(mail, zone=zone), mail, AROUND).text for zone in ("Asia/Tokyo", "../etc/passwd", "")}
    assert "1 Dec 2026, 14:30 (Asia/Tokyo)" in shown["Asia/Tokyo"]
    assert "1 Dec 2026, 05:30 (UTC)" in shown["../etc/passwd"]
    assert "(UTC)" in shown[""]


def with_texts(mail: Mail, value: str) -> Mail:
    """The mail with a text in each field that takes any."""
    free = {field.name for field in msgspec.structs.fields(mail) if field.type is str} - {"path", "url"}
    return msgspec.structs.replace(mail, **dict.fromkeys(free, value))


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_put_into_a_mail_never_becomes_markup_a_header_or_a_link(value: str) -> None:
    known = {tag for mail in EXAMPLES for tag in read(render(stored(mail), mail, AROUND).html).tags}
    for mail in EXAMPLES:
        rendered = render(stored(mail), with_texts(mail, value), AROUND)
        assert_same(rendered)
        words = read(rendered.html)
        assert words.tags <= known
        assert words.attributes <= {"lang", "charset", "name", "content", "class", "href"}
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f\u2028]", rendered.text + rendered.subject)
        assert "\n" not in rendered.subject
        assert "//evil.example/free-credit" not in rendered.text or ": //evil" in rendered.text
        envelope = Envelope(sender="a@house.example", address="ann@acme.example", message_id="1", created_at=AT)
        sent = message_of(rendered, envelope).as_bytes()
        # A line of a body may begin so, where quoted-printable breaks it.
        assert all(part["Bcc"] is None for part in message_from_bytes(sent).walk())
        assert b"\nBcc:" not in sent.partition(b"\r\n\r\n")[0]
        assert max(map(len, sent.split(b"\r\n"))) <= 998


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=120))
def test_text_and_html_say_the_same_of_any_name(name: str) -> None:
    mail = KeyCreated(key="key_1", name=name, prefix="gr", by=name)
    rendered = render(stored(mail), mail, AROUND)
    assert_same(rendered)
    [title] = re.findall(r"<title>(.*)</title>", rendered.html)
    assert plain(html.unescape(title))[:150] == plain(rendered.subject)[:150]


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("a@b.c, \r\n<>\"'();:\x00é"), max_size=12))
def test_one_address_is_one_recipient(text: str) -> None:
    if not is_address(text):
        with pytest.raises(ValueError, match="is not one e-mail address"):
            Recipient(text)
        return
    message = message_of(
        Rendered("s", "t", "h"), Envelope(sender="a@house.example", address=text, message_id="1", created_at=AT)
    )
    assert len(message["To"].addresses) == 1
