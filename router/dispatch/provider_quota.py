"""Keeps us within a provider's quota at an endpoint: requests and tokens per minute, attempts at once.

All processes count together, in Redis; only endpoints that have a limit cost a round trip. The lease of an attempt that
dies with its process expires by itself. Without an answer of Redis nothing is sent to such an endpoint.
"""

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from hiredis import ReplyError

from providers.outcomes import PassedOver
from router.values import Endpoint
from store.ids import EndpointId
from store.redis_client import RedisClient, RedisUnavailable, Reply, Script

_LUA = Path(__file__).parent / "lua"
ACQUIRE = Script((_LUA / "quota_acquire.lua").read_text())
RELEASE = Script((_LUA / "quota_release.lua").read_text())
SCRIPTS = (ACQUIRE, RELEASE)

WINDOW_S: Final = 60.0
# A lease outlives its attempt by this: the provider may still be at work when we have given up.
LEASE_GRACE_S: Final = 2.0
# A slot may come free at any moment; a process that waits for one tries again after this.
SLOT_WAIT_S: Final = 1.0


class Lease(msgspec.Struct, frozen=True):
    """An attempt's share of the quota: ``slots`` are how many of its ``requests`` it may have under way at once."""

    endpoint: EndpointId
    id: str
    slots: int
    slice: int
    requests: int
    tokens: int


def has_quota(endpoint: Endpoint) -> bool:
    """Whether a limit of the endpoint's provider is known, so that each attempt needs a lease."""
    return (
        endpoint.requests_per_minute is not None
        or endpoint.tokens_per_minute is not None
        or endpoint.concurrency is not None
    )


class ProviderQuota:
    """Acquires and releases leases for one process."""

    def __init__(self, redis: RedisClient, window_s: float = WINDOW_S) -> None:
        self._redis = redis
        self._window_us = round(window_s * 1_000_000)

    def min_duration_s(self, endpoint: Endpoint, requests: int, tokens: int) -> float:
        """Seconds over which the quota spreads so much, even where no other call uses it; 0: it fits into a minute."""
        by_requests = -(-requests // (endpoint.requests_per_minute or requests))
        by_tokens = -(-tokens // (endpoint.tokens_per_minute or max(1, tokens)))
        return max(0, by_requests - 1, by_tokens - 1) * self._window_us / 1_000_000

    async def acquire(
        self, endpoint: Endpoint, lease_id: str, *, requests: int, tokens: int, slots: int, limit_s: float
    ) -> Lease:
        """Lease room for so many requests and at most so many tokens, with ``slots`` at once or as many as are free.

        ``tokens`` is a bound; where a single request's is above a minute's quota, the lease takes all of that. Raises
        PassedOver with the wait.
        """
        rpm, tpm, concurrency = endpoint.requests_per_minute, endpoint.tokens_per_minute, endpoint.concurrency
        tokens = tokens if tpm is None else min(tokens, tpm)
        arguments: list[str | int] = [
            requests,
            tokens,
            slots,
            *("" if limit is None else limit for limit in (rpm, tpm, concurrency)),
            lease_id,
            round((limit_s + LEASE_GRACE_S) * 1_000_000),
            self._window_us,
        ]
        try:
            acquiring = self._redis.call(ACQUIRE, _keys(endpoint.id), arguments)
            try:
                reply = await asyncio.shield(acquiring)
            except asyncio.CancelledError:
                # The lease may yet be granted, and no call is left to use it.
                acquiring.add_done_callback(partial(self._release_unused, endpoint, lease_id, requests, tokens))
                raise
        except (RedisUnavailable, ReplyError) as fault:
            raise PassedOver("our count of its grant is away", detail=repr(fault), retry_after_s=1.0) from fault
        if reply[0] == b"ok":
            return _lease(endpoint, lease_id, reply, requests, tokens)
        wait_s = int(reply[1]) / 1_000_000
        if reply[0] == b"slots":
            raise PassedOver("it has as many calls at once as it grants us", retry_after_s=min(wait_s, SLOT_WAIT_S))
        raise PassedOver("it has as much per minute as it grants us", retry_after_s=wait_s)

    def release(self, lease: Lease, used_tokens: int | None, sent: int) -> None:
        """Release the lease of an attempt that sent ``sent`` requests; ``used_tokens`` where the answer has a usage.

        Unused requests and tokens are free again. It never waits: a lease also expires by itself.
        """
        if not sent:
            used_tokens = 0
        tokens = 0 if used_tokens is None else max(0, lease.tokens - used_tokens)
        back: list[str | int] = [lease.id, lease.slots, lease.slice, max(0, lease.requests - sent), tokens]
        try:
            released = self._redis.call(RELEASE, _keys(lease.endpoint), back)
        except RedisUnavailable:
            return
        released.add_done_callback(_ignore_loss)

    def _release_unused(
        self, endpoint: Endpoint, lease_id: str, requests: int, tokens: int, acquired: "asyncio.Future[Reply]"
    ) -> None:
        if not acquired.cancelled() and acquired.exception() is None and acquired.result()[0] == b"ok":
            self.release(_lease(endpoint, lease_id, acquired.result(), requests, tokens), None, 0)


def _lease(endpoint: Endpoint, lease_id: str, reply: Reply, requests: int, tokens: int) -> Lease:
    return Lease(endpoint.id, lease_id, int(reply[1]), int(reply[2]), requests, tokens)


def _keys(endpoint: EndpointId) -> list[str]:
    """Both keys of an endpoint on one Redis node, by the hash tag."""
    return [f"gr:pace:{{{endpoint.hex}}}", f"gr:pace:{{{endpoint.hex}}}:leases"]


def _ignore_loss(released: "asyncio.Future[object]") -> None:
    """Retrieve a lost answer's exception, or asyncio logs it: the lease expires by itself."""
    if not released.cancelled():
        released.exception()
