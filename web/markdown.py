"""Renders Markdown, ours and that of others, as HTML in which nothing of theirs is markup.

No raw HTML, no images but ours; links of others are ``nofollow noopener`` and go to http and https alone. Code is
coloured by classes, since no style may stand in a page.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound
from typing_extensions import override

# Text that is HTML already.
Html: TypeAlias = Markup

BYTES_MAX = 200_000
PICTURE_WIDTH, PICTURE_HEIGHT = 1000, 700
_REMOTE = re.compile(r"(?i)https?://")
_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True)


def render_markdown(text: str, *, is_ours: bool = False, link: Callable[[str], str | None] = lambda href: href) -> Html:
    """The HTML of a text; ``is_ours``: its headings have ids, ``link`` says where its links and pictures are."""
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    if not is_ours:
        parser.disable("image")
        parser.options["theirs"] = True
    return Markup(parser.render(text[:BYTES_MAX], {"link": link}))  # noqa: S704 - without raw HTML, what it renders is escaped


def colour(code: str, language: str) -> Html:
    """Code with its colours; as it is where the language is not known."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return escape(code)
    return Markup(highlight(code, lexer, _FORMATTER))  # noqa: S704 - Pygments escapes what it is given


class _Renderer(RendererHTML):
    @override
    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        token = tokens[idx]
        language = (token.info.split() or [""])[0]
        code = colour(token.content, language)
        return f'<figure class="code" data-copy><pre tabindex="0"><code>{code}</code></pre></figure>\n'

    def heading_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:  # noqa: ANN401
        tag = tokens[idx].tag
        if "theirs" in options:
            # Theirs stand below a heading of ours.
            return f"<h{min(6, int(tag[1]) + 2)}>"
        return f'<{tag} id="{escape(slug(tokens[idx + 1].content))}">'

    def heading_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:  # noqa: ANN401
        tag = tokens[idx].tag
        return f"</h{min(6, int(tag[1]) + 2)}>\n" if "theirs" in options else f"</{tag}>\n"

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:  # noqa: ANN401
        href = str(tokens[idx].attrs.get("href", ""))
        if "theirs" not in options:
            to = env["link"](href)
            return "<a>" if to is None else f'<a href="{escape(to)}">'
        return f'<a href="{escape(href)}" rel="nofollow noopener">' if _REMOTE.match(href) else "<a>"

    @override
    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        token = tokens[idx]
        words, href = escape(token.content), env["link"](str(token.attrs.get("src", "")))
        # All pictures of ours are of one size, so that nothing moves while they come.
        size = f'width="{PICTURE_WIDTH}" height="{PICTURE_HEIGHT}"'
        return str(words) if href is None else f'<img src="{escape(href)}" alt="{words}" {size} loading="lazy">'

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:  # noqa: ANN401
        number = env["tables"] = env.get("tables", 0) + 1
        return f'<div class="scroll" role="region" aria-label="Table {number}" tabindex="0"><table>\n'

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:  # noqa: ANN401
        # The corner of a table heads nothing.
        return '<th scope="col">' if tokens[idx + 1].content else "<td>"

    def th_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:  # noqa: ANN401
        return "</th>\n" if tokens[idx - 1].content else "</td>\n"

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:  # noqa: ANN401
        # The parser aligns by an inline style, which the Content-Security-Policy blocks.
        is_number = "right" in str(tokens[idx].attrs.get("style", ""))
        return '<td class="number">' if is_number else "<td>"

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:  # noqa: ANN401
        return "</table></div>\n"


def slug(heading: str) -> str:
    """``What a page reads`` -> ``what-a-page-reads``."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub("['\N{RIGHT SINGLE QUOTATION MARK}]", "", heading.lower())).strip("-")
