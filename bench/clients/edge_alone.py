"""``python -m bench.clients.edge_alone PORT CYCLE``: the edge's protocol before an application that only answers.

``CYCLE`` is ``lean`` or ``uvicorn``, whose own the product has.
"""

import sys
from typing import Any

import uvicorn

from bench import upstream
from bench.clients import lean_cycle
from router.api.server import protocol

BODY = upstream.answer("base64")
# The names and lengths of an embeddings answer of the product.
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
    *(
        (b"x-ratelimit-%b-%b" % (kind, what), b"999999")
        for kind in (b"limit", b"remaining", b"reset")
        for what in (b"requests", b"tokens")
    ),
    *((b"x-gigarouter-%02d" % number, b"a value of some length") for number in range(12)),
]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the request, answer 20 headers and the body."""
    if scope["type"] == "http":
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    if sys.argv[2] == "lean":
        lean_cycle.install()
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        http=protocol.BoundedProtocol,
        loop="uvloop",
        lifespan="off",
        access_log=False,
        server_header=False,
        date_header=False,
        log_level="warning",
    )
