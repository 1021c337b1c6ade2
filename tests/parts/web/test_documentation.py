"""The documentation: articles without dead links, every error, every operation, and what robots read first."""

import re
from xml.etree import ElementTree

import pytest

from router.api.documents import document
from router.api.error_envelope import ROWS
from router.errors import ClientGone
from tests.harness.pages import Pages
from web.public.documentation.articles import ARTICLES
from web.route import Who
from web.routes import ROUTES

pytestmark = pytest.mark.anyio


async def test_no_article_has_a_dead_link_or_markup_of_its_own(pages: Pages) -> None:
    client = pages.reader()
    for article in ARTICLES:
        answer = await client.get(f"/docs/{article.slug}")
        assert answer.status_code == 200
        main = answer.text.partition("<main")[2]
        for href in set(re.findall(r'<a href="(/docs[^"]*)"', main)):
            target, _, anchor = href.partition("#")
            there = await client.get(target)
            assert there.status_code == 200, f"{article.file} links to {href}"
            assert not anchor or f'id="{anchor}"' in there.text, f"{article.file} links to {href}"
    assert (await client.get("/docs/nothing")).status_code == 404


async def test_every_error_of_the_api_is_on_the_page(pages: Pages) -> None:
    text = (await pages.reader().get("/docs/errors")).text
    assert not [kind.code for kind in ROWS if kind is not ClientGone and f"<code>{kind.code}</code>" not in text]


async def test_every_operation_is_in_the_reference_with_its_fields(pages: Pages) -> None:
    client = pages.reader()
    listed = (await client.get("/docs/api")).text
    ids = [facts["operationId"] for methods in document()["paths"].values() for facts in methods.values()]
    for operation in ids:
        assert f'href="/docs/api/{operation}"' in listed
        assert (await client.get(f"/docs/api/{operation}")).status_code == 200
    embeddings = (await client.get("/docs/api/create_embedding")).text if "create_embedding" in ids else listed
    assert "/v1/embeddings" in embeddings


async def test_search_finds_sections_and_leads_to_them(pages: Pages) -> None:
    client = pages.reader()
    found = await client.get("/docs", params={"q": "retry-after"})
    [first, *_] = re.findall(r'<li><a href="(/docs/[^"]+)"', found.text)
    assert (await client.get(first.partition("#")[0])).status_code == 200
    assert "No page has all of these words." in (await client.get("/docs", params={"q": "zyxwv<b>"})).text


async def test_robots_read_public_pages_alone(pages: Pages) -> None:
    client = pages.reader()
    robots = (await client.get("/robots.txt")).text
    personal = {f"/{row.path.split('/')[1]}" for row in ROUTES if row.who is not Who.ANYONE}
    assert all(f"Disallow: {path}" in robots for path in personal)
    sitemap = ElementTree.fromstring((await client.get("/sitemap.xml")).text)
    assert len(sitemap) > len(ARTICLES)
    llms = (await client.get("/llms.txt")).text
    assert llms.startswith("# gigarouter\n")
    links = re.findall(r"\]\(http://[^/]+(/[^)]+)\)", llms)
    assert {"/docs/keys", "/pricing", "/status.json", "/models.json", "/models/codefuse-ai/F2LLM-v2-4B.md"} <= set(
        links
    )
    for link in [*(one for one in links if not one.startswith("/models/")), links[-1]]:
        assert (await client.get(link)).status_code == 200, link
