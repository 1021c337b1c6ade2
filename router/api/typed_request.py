"""Hands a request's body and query to an operation's types, as the clients that there are write them."""

import re

from fastapi import Request
from starlette.requests import Request as StarletteRequest
from typing_extensions import override

from router.api.exchange import EXCHANGE, Exchange

_BRACKETS = re.compile(rb"((?:^|&)[a-z_]+)(?:\[\]|%5[Bb]%5[Dd])(?==)")


class TypedRequest(Request):
    """A request whose body reaches its type as bytes: Pydantic's strict JSON mode reads them, not ``json.loads``.

    FastAPI hands a body on undecoded where no content type says that it is JSON; whichever a client sends is taken.
    OpenAI's clients write a list in the query as ``group_by[]=a&group_by[]=b``, which is ``group_by=a&group_by=b``.
    """

    def __init__(self, request: StarletteRequest) -> None:
        headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
        query = _BRACKETS.sub(rb"\1", request.scope["query_string"])
        super().__init__({**request.scope, "headers": headers, "query_string": query}, request.receive)

    @override
    async def body(self) -> bytes:
        """The whole body; an empty one is ``{}``."""
        exchange: Exchange = self.scope[EXCHANGE]
        return bytes(exchange.body) or b"{}"
