"""Holds a request by an account's key as its handler has it: the key, the router's context, the exchange."""

from typing import Annotated

from fastapi import Depends, Request, Response

from router.api.exchange import EXCHANGE, Exchange
from router.api.operation import OperationRequest
from router.api.paging import Paging
from router.context import RouterContext


class KeyRequest(OperationRequest):
    """A request whose key :func:`router.api.access.check_access` has found."""

    def __init__(self, request: Request) -> None:
        self.exchange: Exchange = request.scope[EXCHANGE]
        self.context: RouterContext = request.app.state.context
        self.accept = request.headers.get("accept")
        assert self.exchange.caller is not None, "an operation for keys was reached without one; this is a bug"
        self.caller = self.exchange.caller
        self.key = self.caller.key


class VisitorRequest(OperationRequest):
    """A request that needs no key; with one, the answer is that key's."""

    def __init__(self, request: Request, response: Response) -> None:
        self.exchange: Exchange = request.scope[EXCHANGE]
        self.context: RouterContext = request.app.state.context
        self.key = None if self.exchange.caller is None else self.exchange.caller.key
        # A cache that keeps the public answer must not give it to who sends a key, and a key's to nobody.
        response.headers["vary"] = "Authorization, X-API-Key, Api-Key"
        if self.key is not None:
            response.headers["cache-control"] = "no-store"


class VisitorPage(VisitorRequest):
    """A request for a list, which needs no key."""

    def __init__(self, request: Request, response: Response) -> None:
        super().__init__(request, response)
        self.paging = Paging(request, response)


class PrivateRequest(KeyRequest):
    """One whose answer is the account's own: no cache may keep it."""

    def __init__(self, request: Request, response: Response) -> None:
        super().__init__(request)
        self.paging = Paging(request, response)
        response.headers["cache-control"] = "no-store"


VisitorPaging = Annotated[VisitorPage, Depends()]
ByVisitor = Annotated[VisitorRequest, Depends()]
Private = Annotated[PrivateRequest, Depends()]
