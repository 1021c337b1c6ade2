"""A browser without JavaScript at the pages: keeps cookies, follows redirects, sends the forms that it was shown."""

import re
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Any

import httpx
import msgspec
from typing_extensions import override

from web.app import WebApp

BASE = "http://127.0.0.1:8001"


class ShownForm(msgspec.Struct):
    """A form of a page: where it goes, its fields as they stand there, and the buttons' words."""

    action: str
    method: str
    fields: dict[str, str]
    buttons: list["Button"]


class Button(msgspec.Struct):
    """A button's words, and what it sends."""

    name: str
    value: str
    words: str = ""


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[ShownForm] = []
        self._form: ShownForm | None = None
        self._select = ""
        self._area: str | None = None
        self._is_button = False

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = ShownForm(given.get("action", ""), given.get("method", "get"), {}, [])
            self.forms.append(self._form)
        if self._form is None:
            return
        name = given.get("name", "")
        if tag == "input" and (given.get("type") != "checkbox" or "checked" in given):
            self._form.fields[name] = given.get("value", "")
        elif tag == "textarea":
            self._area = name
            self._form.fields[name] = ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and ("selected" in given or self._select not in self._form.fields):
            self._form.fields[self._select] = given.get("value", "")
        elif tag == "button":
            self._is_button = True
            self._form.buttons.append(Button(name, given.get("value", "")))

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "textarea":
            self._area = None
        elif tag == "button":
            self._is_button = False

    @override
    def handle_data(self, data: str) -> None:
        if self._form is None:
            return
        if self._area is not None:
            self._form.fields[self._area] += data.removeprefix("\n")
        if self._is_button:
            self._form.buttons[-1].words += data


class PlainBrowser:
    """One browser with its cookies. ``page`` is what it shows."""

    def __init__(self, app: WebApp, address: str = "192.0.2.7", agent: str = "Firefox/140.0 Linux") -> None:
        transport = httpx.ASGITransport(app, client=(address, 50_000))
        headers = {"sec-fetch-site": "same-origin", "user-agent": agent, "accept": "text/html"}
        self._client = httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)
        self.cookies: dict[str, str] = {}
        self.page = httpx.Response(204)
        self.path = "/"

    @property
    def text(self) -> str:
        return self.page.text

    @property
    def status(self) -> int:
        return self.page.status_code

    async def get(self, path: str) -> httpx.Response:
        return await self._go("GET", path)

    async def post(self, path: str, fields: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        return await self._go("POST", path, data=fields or {}, **more)

    async def press(self, button: str, **fields: str) -> httpx.Response:
        """Send the form whose button has these words at its beginning, with some fields filled in."""
        form = self.form(button)
        assert set(fields) <= set(form.fields), form
        pressed = next(one for one in form.buttons if one.words.startswith(button))
        sent = {pressed.name: pressed.value} if pressed.name else {}
        return await self._go(form.method.upper(), form.action, data=form.fields | sent | fields)

    def form(self, button: str) -> ShownForm:
        parser = _Forms()
        parser.feed(self.text)
        return next(form for form in parser.forms if any(one.words.startswith(button) for one in form.buttons))

    def has(self, button: str) -> bool:
        parser = _Forms()
        parser.feed(self.text)
        return any(one.words.startswith(button) for form in parser.forms for one in form.buttons)

    async def once(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, without following where it leads."""
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        answer = await self._client.request(method, path, headers=headers | more.pop("headers", {}), **more)
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                kept = (morsel["secure"], morsel["httponly"], morsel["samesite"], morsel["path"], morsel["domain"])
                assert kept == (True, True, "Lax", "/", ""), line
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer

    async def _go(self, method: str, path: str, **more: Any) -> httpx.Response:
        self.page = await self.once(method, path, **more)
        self.path = path
        hops = 0
        while self.page.status_code in (301, 302, 303):
            hops += 1
            assert hops < 6, self.page.headers["location"]
            self.path = self.page.headers["location"]
            self.page = await self.once("GET", self.path)
        assert not re.search(r"<script(?![^>]* src=)", self.page.text), "no inline script"
        return self.page
