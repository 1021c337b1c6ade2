"""Builds what speaks to a provider, as the product builds it, with a pool of connections that ends with the block."""

import contextlib
from collections.abc import AsyncIterator, Mapping

from providers.kinds import build
from providers.protocol import Provider
from providers.wire import Networks, Pool, networks

LOOPBACK = networks(["127.0.0.0/8"])


def build_provider(
    kind: str,
    base_url: str | None,
    *,
    credential: str | None = None,
    allowed: Networks = LOOPBACK,
    pool: Pool | None = None,
    options: Mapping[str, object] | None = None,
) -> Provider:
    """Connects to nothing. ``options`` are the kind's own; raises ``ValueError`` where they are refused."""
    return build(
        kind,
        base_url=base_url,
        credential=credential,
        options=options or {},
        allowed_networks=allowed,
        pool=pool or Pool(),
    )


@contextlib.asynccontextmanager
async def a_provider(
    kind: str,
    base_url: str | None,
    *,
    credential: str | None = None,
    allowed: Networks = LOOPBACK,
    pool: Pool | None = None,
    options: Mapping[str, object] | None = None,
) -> AsyncIterator[Provider]:
    """A provider that is closed at the end of the block, as its pool is."""
    connections = pool or Pool()
    provider = build_provider(kind, base_url, credential=credential, allowed=allowed, pool=connections, options=options)
    try:
        yield provider
    finally:
        await provider.close()
        await connections.close()
