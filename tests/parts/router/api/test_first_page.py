"""The first page that a person opens says what this is and where to go on; a program gets the same as JSON."""

import html
import json
import re

import pytest

from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio

CHROME = b"accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
FIREFOX = b"accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def test_a_browser_gets_a_page_that_needs_nothing_else(api: ServedApi) -> None:
    for accept in (CHROME, FIREFOX, b"accept: text/html"):
        answer = await api.raw("GET", "/", accept)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        page = answer.body.decode()
        for place in ("/openapi.json", "/v1/models", "/v1/account", "/health"):
            assert place in page
        links = set(re.findall(r'(?:href|src)="([^"]*)"', page))
        assert all(link == "data:," or link.startswith("/") for link in links), "nothing from elsewhere"
        for link in links - {"data:,"}:
            assert (await api.raw("GET", link)).status in ((200, 503) if link == "/ready" else (200,))


async def test_the_pages_own_line_can_be_pasted(api: ServedApi) -> None:
    page = (await api.raw("GET", "/", CHROME)).body.decode()
    found = re.search(r"-d '(.*)'", html.unescape(page))
    assert found is not None
    body = json.loads(found[1])
    answer = await api.client.post("/v1/embeddings", json=body, headers={"authorization": f"Bearer {api.key}"})
    assert answer.status_code == 200, answer.text
    assert '<a href="/v1/models">' in page, "the list needs no key"


async def test_a_program_gets_json_with_addresses_that_work(api: ServedApi) -> None:
    for accept in ([], [b"accept: */*"], [b"accept: application/json"], [b"accept: application/json, text/html;q=0.9"]):
        answer = await api.raw("GET", "/", *accept)
        assert answer.headers["content-type"] == "application/json"
    page = (await api.client.get("/")).json()
    assert page["base_url"] == f"http://127.0.0.1:{api.server.port}/v1"
    for name in ("documentation", "models", "account", "health", "ready"):
        found = await api.client.get(page[name], headers={"authorization": f"Bearer {api.key}"})
        # A machine that is busy with other things is not ready at every moment.
        assert found.status_code == 200 or (name, found.status_code) == ("ready", 503), name


async def test_caches_keep_them_apart(api: ServedApi) -> None:
    for answer in (await api.raw("GET", "/", CHROME), await api.raw("HEAD", "/", CHROME), await api.raw("GET", "/")):
        assert "accept" in re.split(r", *", answer.headers["vary"])


async def test_what_a_host_header_says_is_no_markup(api: ServedApi) -> None:
    async with api.server.peer() as peer:
        await peer.send(b'GET / HTTP/1.1\r\nhost: "><script>alert(1)</script>\r\naccept: text/html\r\n\r\n')
        assert b"<script" not in (await peer.answer()).body


async def test_other_methods_are_refused(api: ServedApi) -> None:
    answer = await api.raw("POST", "/", body={})
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert json.loads(answer.body)["error"]["code"] == "method_not_allowed"
