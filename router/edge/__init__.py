"""The HTTP edge: the only place in the router that knows HTTP. Nothing below it imports it."""

from router.edge.app import create_app
from router.edge.exchange import Exchange
from router.edge.protocol import EdgeProtocol, bounded

__all__ = ["EdgeProtocol", "Exchange", "bounded", "create_app"]
