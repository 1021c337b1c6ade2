"""A channel of our own wire to an upstream, and one plain request over it."""

import contextlib
from collections.abc import AsyncIterator

from providers.wire import Answer, Bounds, Channel, Pool, parse_origin, request
from tests.builders.providers import LOOPBACK
from tests.harness.fake_upstream import Upstream

BODY = b'{"model": "m", "input": ["hello"]}'
CAP = 100_000


@contextlib.asynccontextmanager
async def a_channel(upstream: Upstream, bounds: Bounds | None = None) -> AsyncIterator[Channel]:
    pool = Pool(bounds)
    try:
        yield pool.channel(parse_origin(upstream.base_url, LOOPBACK))
    finally:
        await pool.close()


async def ask(channel: Channel, deadline_s: float = 5.0, *, first_byte_s: float | None = None) -> Answer:
    message = request(channel.origin.head("/embeddings", {"Content-Type": "application/json"}), BODY)
    return await channel.exchange(message, deadline_s, CAP, first_byte_s=first_byte_s)
