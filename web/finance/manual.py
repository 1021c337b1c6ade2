"""Shows operators what to do: the articles of the repository about money, at the heading that a check names."""

import re
from functools import cache
from pathlib import Path

from web.answers import Crumb
from web.faults import NotFound
from web.finance.listing import FINANCE
from web.markdown import Html, render_markdown
from web.public.documentation.articles import Article, text_of
from web.public.documentation.index import ArticlePage
from web.request import PageRequest

BOOKS = "docs/ledger.md#checks-and-what-to-do"
_ABOUT = "What to do, for whoever runs the product."
GUIDES = {
    name: Article(name, f"{name}.md", title, _ABOUT, "Finance")
    for name, title in (
        ("ledger", "The ledger"),
        ("finance", "Finance"),
        ("invoices", "Invoices and documents"),
        ("stripe", "Stripe"),
        ("billing", "Credit, top-ups, refunds"),
    )
}
_ADDRESS = re.compile(r"https?://")


def guide_href(link: str) -> str | None:
    """The page of an article of ours, such as ``docs/ledger.md#the-chain``; None for what is no page."""
    if _ADDRESS.match(link) or link.startswith("#"):
        return link
    file, _, anchor = link.partition("#")
    name = Path(file).stem
    return f"/finance/manual/{name}{'#' if anchor else ''}{anchor}" if name in GUIDES else None


async def show(request: PageRequest) -> ArticlePage:
    """An article. Raises ``NotFound``."""
    article = GUIDES.get(request.values["article"])
    if article is None:
        raise NotFound
    return ArticlePage(
        title=article.title,
        crumbs=(FINANCE, Crumb("What to do"), Crumb(article.title)),
        article=article,
        html=_html_of(article.slug),
    )


@cache
def _html_of(name: str) -> Html:
    return render_markdown(text_of(GUIDES[name]), is_ours=True, link=guide_href)
