"""Sends trial calls of the pages to the API over HTTP, for the pages have no client of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from router.trial.call import ApiAnswer, ApiUnreachable, SendCall

# Beside what a call may take itself.
GRACE_S = 5.0
CONNECT_S = 3.0
USER_AGENT = "gigarouter-pages"


@asynccontextmanager
async def trial_calls(url: str | None, deadline_s: float) -> AsyncIterator[SendCall | None]:
    """A client for the API at ``url`` until the block ends; None where the pages are not told where it is."""
    if url is None:
        yield None
        return
    timeout = httpx.Timeout(deadline_s + GRACE_S, connect=CONNECT_S)
    # A connection per call: one that was idle may be closed at the moment at which a call goes out on it.
    limits = httpx.Limits(max_keepalive_connections=0)
    # No proxy of the environment and no redirect gets to see a key's secret.
    client = httpx.AsyncClient(base_url=url, timeout=timeout, limits=limits, trust_env=False, follow_redirects=False)
    async with client as http:

        async def send(secret: str, idempotency_key: str, body: bytes) -> ApiAnswer:
            headers = {
                "authorization": f"Bearer {secret}",
                "content-type": "application/json",
                "idempotency-key": idempotency_key,
                "user-agent": USER_AGENT,
            }
            try:
                answer = await http.post("/v1/embeddings", content=body, headers=headers)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as fault:
                raise ApiUnreachable(may_have_run=False) from fault
            except httpx.HTTPError as fault:
                raise ApiUnreachable(may_have_run=True) from fault
            return ApiAnswer(
                answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.content
            )

        yield send
