"""Serves what programs that read the pages ask for first: ``robots.txt``, ``sitemap.xml``, ``llms.txt``."""

from collections.abc import Iterator
from urllib.parse import quote
from xml.sax.saxutils import escape

from web.answers import File
from web.public.documentation.articles import ARTICLES
from web.public.documentation.reference import operations
from web.request import PageRequest

PUBLIC = ("/models", "/compare", "/status", "/pricing", "/docs", "/docs/errors", "/docs/api")
# Pages of persons answer nobody; here so that nobody tries.
NOT_FOR_ROBOTS = ("/accounts/", "/device", "/finance", "/invitations/", "/me", "/ops", "/sign-in", "/unsubscribe/")
FOR_A_WHILE = "public, max-age=300"


async def show_robots(request: PageRequest) -> File:
    """What may be read by robots."""
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in NOT_FOR_ROBOTS)]
    lines.append(f"Sitemap: {request.context.origins.public}/sitemap.xml")
    return File(body="\n".join([*lines, ""]).encode(), media="text/plain; charset=utf-8", cache=FOR_A_WHILE)


async def show_sitemap(request: PageRequest) -> File:
    """All public pages."""
    base = request.context.origins.public
    urls = "".join(f"<url><loc>{escape(base + path)}</loc></url>\n" for path in _paths(request))
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
    )
    return File(body=body.encode(), media="application/xml", cache=FOR_A_WHILE)


async def show_llms(request: PageRequest) -> File:
    """What this is and where to read on, for language models (llmstxt.org)."""
    base, api = request.context.origins.public, request.context.api_url
    lines = [
        "# gigarouter",
        "",
        "> One OpenAI-compatible API for text embeddings of many models and providers, with prices, licenses and",
        "> vector spaces stated with their sources.",
        "",
        f"The API is at {api}/v1; {api}/openapi.json describes it.",
        "",
        "## Documentation",
        "",
        *(f"- [{one.title}]({base}/docs/{one.slug}): {one.about}" for one in ARTICLES),
        f"- [Errors]({base}/docs/errors): Every code, and whether the same call can pass again.",
        f"- [API reference]({base}/docs/api): Every operation.",
        f"- [Pricing]({base}/pricing): All list prices.",
        f"- [Status]({base}/status.json): How each model serves now, as JSON.",
        f"- [Catalogue as JSON]({base}/models.json) and [as CSV]({base}/models.csv), with filters in the address.",
        "",
        "## Models",
        "",
        "Each as Markdown: prices, endpoints, license with its claims, programs. The same without `.md` is the page.",
        "",
        *(
            f"- [{model.id}]({base}/models/{quote(model.id)}.md): {model.status.value.replace('_', ' ')}, "
            f"{model.dimensions} dimensions, {model.max_input_tokens} tokens"
            for model in request.context.reads.catalog.all()
        ),
        "",
    ]
    return File(body="\n".join(lines).encode(), media="text/plain; charset=utf-8", cache=FOR_A_WHILE)


def _paths(request: PageRequest) -> Iterator[str]:
    yield from PUBLIC
    yield from (f"/docs/{article.slug}" for article in ARTICLES)
    yield from (f"/docs/api/{operation}" for operation in operations())
    yield from (f"/models/{quote(model.id)}" for model in request.context.reads.catalog.all())
