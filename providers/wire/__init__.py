"""Outgoing HTTP/1.1, lean enough for the hot path: pooled, guarded by connected address, bounded in time and size."""

from providers.wire.guard import Networks, networks
from providers.wire.http1 import Answer
from providers.wire.origin import Origin, parse_origin, request
from providers.wire.pool import Bounds, Channel, Pool
from providers.wire.recorder import Exchange, Exchanges, recording

__all__ = [
    "Answer",
    "Bounds",
    "Channel",
    "Exchange",
    "Exchanges",
    "Networks",
    "Origin",
    "Pool",
    "networks",
    "parse_origin",
    "recording",
    "request",
]
