"""The customers' operations in process, for one member, as pages call them."""

from contextlib import AbstractAsyncContextManager

import httpx

from router.api.admin.context import admin_context
from router.api.app import Audience, fastapi_app, operations_for
from router.api.exchange import EXCHANGE, Exchange, Receive, Scope, Send
from router.api.methods import call_operation
from router.api.server.guard import Guard
from router.context import RouterContext
from router.identity.principals import MemberPrincipal


def as_member(context: RouterContext, member: MemberPrincipal) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    """A client whose every request is that member's."""
    rest = fastapi_app(operations_for(Audience.CUSTOMERS))
    rest.state.context, rest.state.admin = context, admin_context(context)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[EXCHANGE]
        exchange.principal = member
        await call_operation(rest, scope, receive, send)

    app = Guard(dispatch, body_bytes_max=1_000_000, calls_max=100, record=lambda _: None, clock=context.db.clock)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://in")
