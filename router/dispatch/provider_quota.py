"""What a provider grants us at an endpoint is never exceeded: requests and tokens per minute, attempts at once.

All processes count together, in Redis; only endpoints that have a limit cost a round trip. What is taken for an attempt
that dies with its process comes back by itself. Without an answer of Redis nothing is sent to such an endpoint.
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
TAKE = Script((_LUA / "pace_take.lua").read_text())
GIVE = Script((_LUA / "pace_give.lua").read_text())
SCRIPTS = (TAKE, GIVE)

WINDOW_S: Final = 60.0
# A lease outlives its attempt's time by this: the provider may still be at work when we have given up.
LEASE_GRACE_S: Final = 2.0
# A slot may come free at any moment; a process that waits for one asks again after this.
SLOT_WAIT_S: Final = 1.0


class Lease(msgspec.Struct, frozen=True):
    """What was taken for one attempt: ``slots`` are how many of its ``requests`` it may have under way at once."""

    endpoint: EndpointId
    id: str
    slots: int
    slice: int
    requests: int
    tokens: int


def has_quota(endpoint: Endpoint) -> bool:
    """Whether its provider's grant is known, so that it must be asked for."""
    return (
        endpoint.requests_per_minute is not None
        or endpoint.tokens_per_minute is not None
        or endpoint.concurrency is not None
    )


class ProviderQuota:
    """Takes and gives back, for one process. ``redis`` is set by who builds the process."""

    def __init__(self, redis: RedisClient, window_s: float = WINDOW_S) -> None:
        self._hot = redis
        self._window_us = round(window_s * 1_000_000)

    def least_s(self, endpoint: Endpoint, requests: int, tokens: int) -> float:
        """Seconds that so much is spread over by the grant, even where nobody else uses it; 0: it fits a minute."""
        by_requests = -(-requests // (endpoint.requests_per_minute or requests))
        by_tokens = -(-tokens // (endpoint.tokens_per_minute or max(1, tokens)))
        return max(0, by_requests - 1, by_tokens - 1) * self._window_us / 1_000_000

    async def take(
        self, endpoint: Endpoint, lease_id: str, *, requests: int, tokens: int, slots: int, limit_s: float
    ) -> Lease:
        """Room for an attempt of so many requests and at most so many tokens, ``slots`` at once or as many as are free.

        ``tokens`` is a bound; where a single request's is above a minute's grant, it takes all of that. Raises
        PassedOver with the wait.
        """
        rpm, tpm, concurrency = endpoint.requests_per_minute, endpoint.tokens_per_minute, endpoint.concurrency
        tokens = tokens if tpm is None else min(tokens, tpm)
        arguments: list[str | int] = [
            requests,
            tokens,
            slots,
            *("" if granted is None else granted for granted in (rpm, tpm, concurrency)),
            lease_id,
            round((limit_s + LEASE_GRACE_S) * 1_000_000),
            self._window_us,
        ]
        try:
            taking = self._hot.call(TAKE, _keys(endpoint.id), arguments)
            try:
                reply = await asyncio.shield(taking)
            except asyncio.CancelledError:
                # It may yet be granted, and nobody is left to use it.
                taking.add_done_callback(partial(self._take_back, endpoint, lease_id, requests, tokens))
                raise
        except (RedisUnavailable, ReplyError) as fault:
            raise PassedOver("our count of its grant is away", detail=repr(fault), retry_after_s=1.0) from fault
        if reply[0] == b"ok":
            return _lease(endpoint, lease_id, reply, requests, tokens)
        wait_s = int(reply[1]) / 1_000_000
        if reply[0] == b"slots":
            raise PassedOver("it has as many calls at once as it grants us", retry_after_s=min(wait_s, SLOT_WAIT_S))
        raise PassedOver("it has as much per minute as it grants us", retry_after_s=wait_s)

    def give(self, lease: Lease, used_tokens: int | None, sent: int) -> None:
        """The attempt is over, and ``sent`` of its requests were sent; ``used_tokens`` where the provider told.

        What was not used is free again. Never waits: a lease ends by itself too.
        """
        if not sent:
            used_tokens = 0
        tokens = 0 if used_tokens is None else max(0, lease.tokens - used_tokens)
        back: list[str | int] = [lease.id, lease.slots, lease.slice, max(0, lease.requests - sent), tokens]
        try:
            given = self._hot.call(GIVE, _keys(lease.endpoint), back)
        except RedisUnavailable:
            return
        given.add_done_callback(_forget)

    def _take_back(
        self, endpoint: Endpoint, lease_id: str, requests: int, tokens: int, taken: "asyncio.Future[Reply]"
    ) -> None:
        if not taken.cancelled() and taken.exception() is None and taken.result()[0] == b"ok":
            self.give(_lease(endpoint, lease_id, taken.result(), requests, tokens), None, 0)


def _lease(endpoint: Endpoint, lease_id: str, reply: Reply, requests: int, tokens: int) -> Lease:
    return Lease(endpoint.id, lease_id, int(reply[1]), int(reply[2]), requests, tokens)


def _keys(endpoint: EndpointId) -> list[str]:
    """Both keys of an endpoint on one Redis node, by the hash tag."""
    return [f"gr:pace:{{{endpoint.hex}}}", f"gr:pace:{{{endpoint.hex}}}:leases"]


def _forget(given: "asyncio.Future[object]") -> None:
    """Look at a lost answer, or asyncio complains of it: the lease ends by itself."""
    if not given.cancelled():
        given.exception()
