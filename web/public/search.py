"""Finds pages by words: models, documentation, and the reader's own. Ctrl-K shows the same in a dialog."""

from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import quote

import msgspec

from store.ids import AccountId, wire
from web.answers import Crumb, Page
from web.public.documentation.articles import search as search_articles
from web.request import PageRequest
from web.shell import ACCOUNT_NAV, PUBLIC_NAV, STAFF_NAV

MODELS_MAX, PLACES_MAX, ARTICLES_MAX = 10, 10, 8


class Result(msgspec.Struct, frozen=True):
    """A page that was found, and what it is."""

    name: str
    href: str
    kind: str
    about: str = ""


class SearchPage(Page, frozen=True, kw_only=True):
    """What was found; without words the pages that the reader has."""

    template: ClassVar[str] = "public/search.html"

    q: str
    found: tuple[Result, ...]


class SearchQuery(msgspec.Struct, frozen=True):
    """The words."""

    q: str = ""


async def show(request: PageRequest) -> SearchPage:
    """Search pages of the reader, models and documentation, in this order."""
    query = request.query_as(SearchQuery)
    words = query.q.casefold().split()
    places = [one for one in _places(request) if _has(words, f"{one.name} {one.kind}")][:PLACES_MAX]
    models = list(_models(request, words))[:MODELS_MAX] if words else []
    articles = [
        Result(one.title, one.href, "documentation", one.excerpt) for one in search_articles(query.q)[:ARTICLES_MAX]
    ]
    return SearchPage(
        title=f"Search: {query.q}" if query.q else "Search",
        crumbs=(Crumb("Search"),),
        q=query.q,
        found=(*places, *models, *articles),
    )


def _places(request: PageRequest) -> Iterator[Result]:
    """Pages that this reader may open, of those that there are."""
    known = [Result(name, href, "page") for name, href in PUBLIC_NAV]
    if request.viewer.is_known:
        known.append(Result("Profile, sessions, passkeys", "/me", "yours"))
    for one in request.viewer.memberships:
        base = f"/accounts/{wire(AccountId, one.account_id)}"
        pages = [(name, page) for name, page, roles in ACCOUNT_NAV if one.role in roles]
        known += [Result(name, f"{base}/{page}", one.account_name) for name, page in pages]
    if request.viewer.staff is not None:
        known += [Result(name, href, "console") for name, href in STAFF_NAV]
    return (one for one in known if request.page_or(one.href, ""))


def _models(request: PageRequest, words: list[str]) -> Iterator[Result]:
    for model in request.context.reads.catalog.all():
        if _has(words, f"{model.id} {model.owned_by}"):
            yield Result(model.id, f"/models/{quote(model.id)}", "model", model.summary)


def _has(words: list[str], text: str) -> bool:
    folded = text.casefold()
    return all(word in folded for word in words)
