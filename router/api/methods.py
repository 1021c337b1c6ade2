"""Answers the methods that no operation declares: HEAD as GET without its body, OPTIONS with what a path takes.

A preflight of the Fetch standard is an OPTIONS, too. It is answered where the operator lets pages of that origin call
us (:mod:`router.api.server.cors`); elsewhere it is an OPTIONS like any other, and the browser refuses the call.
"""

from fastapi import FastAPI

from router.api.exchange import EXCHANGE, Exchange, Receive, Scope, Send, deliver
from router.api.paths import Paths, is_misspelled
from router.api.server.cors import preflight_headers
from router.values import Answer


async def call_operation(app: FastAPI, scope: Scope, receive: Receive, send: Send) -> None:
    """Calls an operation of FastAPI's by any method. Raises OperationNotFound, MethodNotAllowed."""
    exchange: Exchange = scope[EXCHANGE]
    paths: Paths = app.state.paths
    if exchange.method == "OPTIONS":
        await deliver(options_answer(scope, paths), send)
        return
    if is_misspelled(exchange.path):
        raise paths.refusal(scope)
    if exchange.method == "HEAD":
        # The server sends no body to HEAD, by the method of the scope that it keeps itself.
        scope = {**scope, "method": "GET"}
    await app(scope, receive, send)


def options_answer(scope: Scope, paths: Paths) -> Answer:
    """204 with ``Allow``, also for ``*``, which asks about the whole server. Raises OperationNotFound."""
    exchange: Exchange = scope[EXCHANGE]
    # The scope's path and not the exchange's: Azure's names of our paths are ours there.
    methods = paths.methods(scope["path"]) if exchange.path != "*" else ("OPTIONS",)
    headers = preflight_headers(scope["headers"], methods) if exchange.cors_headers else []
    if not methods and not headers:
        raise paths.refusal(scope)
    return Answer(status=204, headers=[(b"allow", ", ".join(methods).encode()), *headers], body=(b"",))
