"""Reads the articles that are shown: the Markdown files of the repository that customers need, by a short table."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from web.markdown import Html, render_markdown, slug

HERE = Path(__file__).parents[3]
EXCERPT = 160
FOUND_MAX = 30


class Article(msgspec.Struct, frozen=True):
    """An article: its address below ``/docs/``, its file below ``docs/``, and what it is about."""

    slug: str
    file: str
    title: str
    about: str
    group: str


_CALLS, _MONEY, _MODELS = "Calling", "Money", "Models"
ARTICLES: tuple[Article, ...] = (
    Article("models", "pages/models.md", "Reading the catalogue", "What each word and figure of it means.", _MODELS),
    Article("start", "pages/start.md", "First call", "From a key to a vector, with curl and OpenAI's client.", _CALLS),
    Article("http", "http.md", "HTTP and clients", "How requests are read, and which clients are served.", _CALLS),
    Article("limits", "limits.md", "Limits and refusals", "What is counted, and when to come back.", _CALLS),
    Article("routing", "routing.md", "Routing", "How the endpoint of a call is chosen, and what you can say.", _CALLS),
    Article("keys", "pages/keys.md", "Keys", "Make, rotate and stop keys, and what their list warns of.", _CALLS),
    Article("usage", "pages/usage.md", "Usage and calls", "Where each dollar went, and why a call did.", _CALLS),
    Article(
        "members", "pages/members.md", "Members and signing in", "Who is in an account, and how they get in.", _CALLS
    ),
    Article("account", "pages/account.md", "Your data, and closing", "An archive of everything, and the end.", _CALLS),
    Article("management", "management.md", "Keys, members, management", "Who may do what in an account.", _CALLS),
    Article(
        "billing", "billing.md", "Credit, top-ups, refunds", "How money comes in, is spent, and goes back.", _MONEY
    ),
    Article("billed-tokens", "billed-tokens.md", "Billed tokens", "How many tokens a call is charged for.", _MONEY),
    Article("invoices", "invoices.md", "Invoices and documents", "What is issued when, and how it adds up.", _MONEY),
    Article(
        "spaces", "spaces.md", "Vector spaces", "How an endpoint proves that its vectors are the model's.", _MODELS
    ),
    Article(
        "other-vectors",
        "other-vectors.md",
        "What gives other vectors",
        "Defaults of clients that change them.",
        _MODELS,
    ),
)
BY_SLUG = {article.slug: article for article in ARTICLES}
_BY_FILE = {Path(article.file).name: article.slug for article in ARTICLES}


class Section(msgspec.Struct, frozen=True):
    """A part of an article under one heading, as it is searched."""

    article: Article
    heading: str
    text: str

    @property
    def href(self) -> str:
        """Where it is."""
        anchor = f"#{slug(self.heading)}" if self.heading != self.article.title else ""
        return f"/docs/{self.article.slug}{anchor}"


class Found(msgspec.Struct, frozen=True):
    """A section that a search found."""

    title: str
    href: str
    excerpt: str


def folder() -> Path:
    """The folder of the documentation: inside the installed package, or at the root of the repository."""
    inside = HERE / "web" / "docs"
    return inside if inside.is_dir() else HERE / "docs"


@cache
def text_of(article: Article) -> str:
    """The article's Markdown, without its title."""
    return (folder() / article.file).read_text().partition("\n")[2].strip()


@cache
def html_of(article: Article) -> Html:
    """The article as it is shown."""
    return render_markdown(text_of(article), is_ours=True, link=_link)


def _link(href: str) -> str | None:
    """Where a link of an article leads on the pages; None for what only the repository has."""
    file, _, anchor = href.partition("#")
    if file.startswith(("https://", "http://", "/docs", "/models", "/pricing")) or not file:
        return href
    known = _BY_FILE.get(Path(file).name)
    return None if known is None else f"/docs/{known}" + (f"#{anchor}" if anchor else "")


@cache
def sections() -> Sequence[Section]:
    """All articles by their headings."""
    found = []
    for article in ARTICLES:
        heading, lines = article.title, list[str]()
        for line in [*text_of(article).splitlines(), "## "]:
            if line.startswith("## "):
                found.append(Section(article, heading, _plain(" ".join(lines))))
                heading, lines = line[3:], []
            else:
                lines.append(line)
    return found


def search(words: str) -> tuple[Found, ...]:
    """The sections that have all of the words, those with one in their heading first."""
    wanted = words.casefold().split()
    if not wanted:
        return ()
    hits: list[tuple[int, int, Section]] = []
    for section in sections():
        heading, text = section.heading.casefold(), section.text.casefold()
        if all(word in heading or word in text for word in wanted):
            hits.append((-sum(word in heading for word in wanted), len(hits), section))
    return tuple(
        Found(f"{section.article.title}: {section.heading}", section.href, _excerpt(section.text, wanted[0]))
        for *_, section in sorted(hits)[:FOUND_MAX]
    )


def _plain(markdown: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[`*#|>]|\]\([^)]*\)|\[", "", markdown)).strip()


def _excerpt(text: str, word: str) -> str:
    at = max(0, text.casefold().find(word) - EXCERPT // 3)
    return f"{'…' if at else ''}{text[at : at + EXCERPT]}{'…' if len(text) > at + EXCERPT else ''}"
