"""Holds a request for an account as its handler has it: who sends it, the router's context, the exchange."""

from typing import Annotated

from fastapi import Request, Response

from router.api.dependencies import depend_on
from router.api.exchange import EXCHANGE, Exchange
from router.api.operation import OperationRequest
from router.api.paging import Paging
from router.changes.audit import Actor
from router.context import RouterContext
from router.errors import NotAllowed
from router.identity.principals import MemberPrincipal, account_of, actor_of
from router.values import Key
from store.ids import AccountId, ModelId

EVERY_MODEL: frozenset[ModelId] = frozenset()


class KeyRequest(OperationRequest):
    """A request of an API key alone, which :func:`router.api.access.check_access` has found."""

    def __init__(self, request: Request, response: Response) -> None:
        response.headers["cache-control"] = "no-store"
        self.exchange: Exchange = request.scope[EXCHANGE]
        self.context: RouterContext = request.app.state.context
        assert self.exchange.caller is not None, "an operation for keys was reached without one; this is a bug"
        self.caller = self.exchange.caller


class AccountRequest(OperationRequest):
    """A request of a key, a management key or a member that :func:`router.api.access.check_access` has let in."""

    def __init__(self, request: Request) -> None:
        self.exchange: Exchange = request.scope[EXCHANGE]
        self.context: RouterContext = request.app.state.context
        self.accept = request.headers.get("accept")
        assert self.exchange.principal is not None, "an operation for an account was reached without one; a bug"
        self.principal = self.exchange.principal
        self.account_id: AccountId = account_of(self.principal)
        # The API key that sends it; None where a management key or a member does.
        self.key: Key | None = None if self.exchange.caller is None else self.exchange.caller.key

    @property
    def actor(self) -> Actor:
        """Who asks, as the audit log names them."""
        return actor_of(self.principal)

    @property
    def models(self) -> frozenset[ModelId]:
        """The models that may be named; empty: every one."""
        return EVERY_MODEL if self.key is None else self.key.models

    @property
    def is_member(self) -> bool:
        """Whether a person of the account sends it, signed in."""
        return isinstance(self.principal, MemberPrincipal)

    @property
    def only_reads(self) -> bool:
        """Whether an operator sees the account as its owner does: addresses that open a door are not for them."""
        return isinstance(self.principal, MemberPrincipal) and self.principal.only_reads

    def refuse_test_key(self, why: str) -> None:
        """Raise ``NotAllowed`` with ``why`` where a key for tests sends it."""
        if self.key is not None and self.key.is_test:
            raise NotAllowed(why)


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


class PrivateRequest(AccountRequest):
    """One whose answer is the account's own: no cache may keep it."""

    def __init__(self, request: Request, response: Response) -> None:
        super().__init__(request)
        self.paging = Paging(request, response)
        response.headers["cache-control"] = "no-store"


ByKey = Annotated[KeyRequest, depend_on(KeyRequest)]
VisitorPaging = Annotated[VisitorPage, depend_on(VisitorPage)]
ByVisitor = Annotated[VisitorRequest, depend_on(VisitorRequest)]
Private = Annotated[PrivateRequest, depend_on(PrivateRequest)]
