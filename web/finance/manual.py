"""Shows operators what to do: the articles about money, and the steps of operations and finance with their pictures."""

import re
from functools import cache
from posixpath import normpath

from web.answers import Crumb, File
from web.faults import NotFound
from web.finance.listing import FINANCE
from web.markdown import Html, render_markdown
from web.public.documentation.articles import Article, folder, text_of
from web.public.documentation.index import ArticlePage
from web.request import PageRequest

BOOKS = "docs/ledger.md#checks-and-what-to-do"
_ABOUT = "What to do, for whoever runs the product."
_PICTURES = "/finance/manual/pictures/"
_FILES = (
    ("ledger", "ledger.md", "The ledger"),
    ("finance", "finance.md", "Finance"),
    ("invoices", "invoices.md", "Invoices and documents"),
    ("stripe", "stripe.md", "Stripe"),
    ("billing", "billing.md", "Credit, top-ups, refunds"),
    ("steps-of-finance", "pages/finance.md", "Finance, step by step"),
    ("queues", "queues.md", "Queues and lags"),
    ("steps-of-operations", "pages/ops.md", "Operations, step by step"),
)
GUIDES = {name: Article(name, file, title, _ABOUT, "Finance") for name, file, title in _FILES}
_BY_FILE = {article.file: name for name, article in GUIDES.items()}
_ADDRESS = re.compile(r"https?://")
_PICTURE = re.compile(r"[a-z0-9-]+\.webp")


def guide_href(link: str, folder: str = "docs") -> str | None:
    """The page of an article of ours, such as ``docs/ledger.md#the-chain``; None for what is no page.

    ``folder`` is the one of the text that has the link.
    """
    if _ADDRESS.match(link) or link.startswith("#"):
        return link
    file, _, anchor = link.partition("#")
    place = normpath(file if file.startswith("docs/") else f"{folder}/{file}").removeprefix("docs/")
    if place.startswith("pages/pictures/"):
        return f"{_PICTURES}{place.removeprefix('pages/pictures/')}"
    name = _BY_FILE.get(place)
    return None if name is None else f"/finance/manual/{name}{'#' if anchor else ''}{anchor}"


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


async def show_picture(request: PageRequest) -> File:
    """A picture of an article, as a test took it. Raises ``NotFound``."""
    name = request.values["picture"]
    place = folder() / "pages" / "pictures" / name
    if _PICTURE.fullmatch(name) is None or not place.is_file():
        raise NotFound
    return File(body=place.read_bytes(), media="image/webp")


@cache
def _html_of(name: str) -> Html:
    article = GUIDES[name]
    home = "docs/pages" if article.file.startswith("pages/") else "docs"
    return render_markdown(text_of(article), is_ours=True, link=lambda link: guide_href(link, home))
