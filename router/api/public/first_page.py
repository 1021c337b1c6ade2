"""Serves ``/``: what this is, and where documentation, models and the account are, for a person or a program."""

import asyncio
from html import escape
from typing import Annotated, Final

from fastapi import Header, Request, Response
from pydantic import Field

from router.api.accept import preferred
from router.api.exchange import EXCHANGE, Exchange
from router.api.forms import Answer
from router.api.operation import JSON, Operations, Who
from router.api.paths import address
from router.context import RouterContext
from router.usable_models import is_sold

operations = Operations("first-page", tag="Probes", one="first_page", who=Who.ANYONE)

HTML: Final = "text/html"
HEADERS: Final = {
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
}
# What comes into it is no markup: a Host header of letters, digits and few signs (router.api.paths), a model's id.
PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>gigarouter</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #222; }}
pre {{ background: #f4f4f4; padding: .8rem; overflow-x: auto; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #181818; color: #ddd; }} pre {{ background: #262626; }}
a {{ color: #8ab4f8; }} }}
</style>
<h1>gigarouter</h1>
<p>One key, one OpenAI-compatible API for text embeddings from many providers.
This is the API{pages}.</p>
<ul>
<li>Documentation: <a href="/openapi.json">/openapi.json</a> describes every operation (OpenAPI 3.1).</li>
<li>Models, with prices and licenses: <a href="/v1/models">/v1/models</a></li>
<li>Your account, with balance and limits: <code>GET /v1/account</code></li>
<li>State: <a href="/health">/health</a>, <a href="/ready">/ready</a></li>
</ul>
<p>Clients of OpenAI's kind take <code>{address}/v1</code> as the base URL, and a key of an account:</p>
<pre>curl {address}/v1/embeddings -H "Authorization: Bearer $GIGAROUTER_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "input": "Hello, world"}}'

curl {address}/v1/account -H "Authorization: Bearer $GIGAROUTER_API_KEY"</pre>
</html>
"""


class FirstPageOut(Answer):
    """What this is, and where to go on; the addresses are those by which you came."""

    name: str = "gigarouter"
    description: str = "One OpenAI-compatible API for text embeddings from many providers."
    base_url: str
    pages: str | None = Field(None, description="Where people read: catalogue, accounts, documentation.")
    documentation: str
    models: str
    account: str
    health: str
    ready: str


@operations.get("/", verb="show", name="first_page", summary="What this is", answer=FirstPageOut, media=(JSON, HTML))
async def first_page(request: Request, accept: Annotated[str | None, Header()] = None) -> Response:
    """Where documentation, models and the account are: a page for browsers, JSON for everything else."""
    root = address(request.scope)
    if preferred(accept, (JSON, HTML)) == HTML:
        pages: str | None = request.app.state.web_url
        link = f'; its pages are at <a href="{escape(pages)}">{escape(pages)}</a>' if pages else ""
        page = PAGE.format(address=root, model=_first_model(request), pages=link)
        return Response(page, headers=HEADERS, media_type=HTML)
    out = FirstPageOut(
        pages=request.app.state.web_url,
        base_url=f"{root}/v1",
        documentation=f"{root}/openapi.json",
        models=f"{root}/v1/models",
        account=f"{root}/v1/account",
        health=f"{root}/health",
        ready=f"{root}/ready",
    )
    return Response(out.model_dump_json(), headers=HEADERS, media_type=JSON)


def _first_model(request: Request) -> str:
    """The id of a model that can be called now, so that the page's line can be pasted as it stands."""
    context: RouterContext = request.app.state.context
    exchange: Exchange = request.scope[EXCHANGE]
    now, now_s = exchange.now, asyncio.get_running_loop().time()
    models = context.catalog.all()
    return escape(next((model.id for model in models if is_sold(model, context, now, now_s)), "org/name"))
