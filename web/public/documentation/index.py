"""Lists the documentation and searches it: ``/docs?q=…``."""

from typing import ClassVar

import msgspec

from web.answers import Crumb, Page
from web.faults import NotFound
from web.markdown import Html
from web.public.documentation.articles import ARTICLES, BY_SLUG, Article, Found, html_of, search
from web.request import PageRequest

DOCS = Crumb("Docs", "/docs")


class DocsQuery(msgspec.Struct, frozen=True):
    """What is searched for."""

    q: str = ""


class Group(msgspec.Struct, frozen=True):
    """Articles of one kind."""

    name: str
    articles: tuple[Article, ...]


class DocsPage(Page, frozen=True, kw_only=True):
    """The list, or what was found."""

    template: ClassVar[str] = "public/documentation/index.html"

    q: str
    groups: tuple[Group, ...]
    found: tuple[Found, ...] = ()


class ArticlePage(Page, frozen=True, kw_only=True):
    """One article."""

    template: ClassVar[str] = "public/documentation/article.html"

    article: Article
    html: Html


async def show(request: PageRequest) -> DocsPage:
    """The list of articles; with words, the sections that have them."""
    query = request.query_as(DocsQuery)
    names = dict.fromkeys(article.group for article in ARTICLES)
    return DocsPage(
        title="Documentation",
        description="How to call, what it costs, why a call went where it did.",
        canonical="/docs",
        crumbs=(Crumb("Docs"),),
        q=query.q,
        groups=tuple(Group(name, tuple(one for one in ARTICLES if one.group == name)) for name in names),
        found=search(query.q),
    )


async def show_article(request: PageRequest) -> ArticlePage:
    """An article. Raises ``NotFound``."""
    article = BY_SLUG.get(request.values["article"])
    if article is None:
        raise NotFound
    return ArticlePage(
        title=article.title,
        description=article.about,
        canonical=f"/docs/{article.slug}",
        crumbs=(DOCS, Crumb(article.title)),
        article=article,
        html=html_of(article),
    )
