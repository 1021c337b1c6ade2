"""Reads pages as somebody does who has no JavaScript: follows links by their words, fills in forms, presses buttons.

What is typed are the fields of the page's form as a browser would send them, with those that the test changes.
"""

import re
from html import unescape
from html.parser import HTMLParser

import httpx
import msgspec
from typing_extensions import override


class PostForm(msgspec.Struct):
    """A form of a page: where it goes, what it has, and the words on its button."""

    action: str = ""
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    button: str = ""


class _Forms(HTMLParser):
    """Finds the forms that are posted in the main part of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[PostForm] = []
        self._form: PostForm | None = None
        self._area = self._choice = self._first = ""
        self._in_button = False

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = PostForm(given.get("action", "")) if given.get("method") == "post" else None
            return
        if self._form is None:
            return
        name, value = given.get("name", ""), given.get("value", "")
        match tag:
            # No file is chosen.
            case "input" if given.get("type") == "file":
                pass
            case "input" if given.get("type") != "checkbox" or "checked" in given:
                self._form.fields[name] = value
            case "textarea":
                self._area, self._form.fields[name] = name, ""
            case "select":
                self._choice, self._first = name, ""
            case "option" if "selected" in given or self._choice not in self._form.fields:
                self._form.fields[self._choice] = value
            case "button":
                self._in_button = True
            case _:
                pass

    @override
    def handle_data(self, data: str) -> None:
        if self._form is None:
            return
        if self._area:
            self._form.fields[self._area] += data.removeprefix("\n")
        if self._in_button:
            self._form.button += data

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""
        elif tag == "button":
            self._in_button = False
        elif tag == "form" and self._form is not None:
            self.forms.append(self._form)
            self._form = None


def form_of(page: httpx.Response) -> PostForm:
    """The form of a page's main part."""
    forms = forms_of(page)
    assert forms, f"{page.url} has no form:\n{words_of(page)}"
    return forms[0]


def forms_of(page: httpx.Response) -> list[PostForm]:
    """The forms of a page's main part."""
    parser = _Forms()
    parser.feed(page.text.partition("<main")[2])
    return parser.forms


def words_of(page: httpx.Response) -> str:
    """What stands in a page's main part, without markup."""
    main = page.text.partition("<main")[2].partition("</main>")[0].partition(">")[2]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


class Reader:
    """Somebody with the pages before them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def open(self, path: str, status: int = 200) -> httpx.Response:
        """A page; a redirect is followed."""
        page = await self.client.get(path, follow_redirects=True)
        assert page.status_code == status, f"{path}: {page.status_code} {words_of(page)}"
        return page

    async def send(self, page: httpx.Response, status: int = 200, **typed: str | list[str]) -> httpx.Response:
        """Fill in the form of a page and press its button; a list ticks several boxes of one name."""
        form = form_of(page)
        action = form.action or str(page.url)
        sent = await self.client.post(action, data=form.fields | typed)
        assert sent.status_code == status, f"{action}: {sent.status_code} {words_of(sent)}"
        return sent

    async def confirm(self, page: httpx.Response) -> httpx.Response:
        """Press the button of what would change; the page that it leads to."""
        done = await self.send(page, status=303)
        return await self.open(done.headers["location"])

    async def write(self, path: str, **typed: str) -> httpx.Response:
        """Open a form, fill it in, look at what would change, and confirm it."""
        return await self.confirm(await self.send(await self.open(path), 200, **typed))
