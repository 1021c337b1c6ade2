"""What a provider grants us at an endpoint is never exceeded: requests and tokens per minute, attempts at once.

All processes count together, in Redis; only endpoints that have a limit cost a round trip. What is taken for an attempt
that dies with its process comes back by itself. Without an answer of Redis nothing is sent to such an endpoint.
"""

import asyncio
from pathlib import Path
from typing import Final

import msgspec
from hiredis import ReplyError

from providers.outcomes import PassedOver
from router.values import Endpoint
from store.hot import Hot, HotUnavailable, Script
from store.ids import EndpointId, RequestId

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
    """What was taken for one attempt: ``slots`` are how many requests it may have under way at once."""

    endpoint: EndpointId
    id: str
    slots: int
    slice: int
    tokens: int


def is_paced(endpoint: Endpoint) -> bool:
    """Whether its provider's grant is known, so that it must be asked for."""
    return (
        endpoint.requests_per_minute is not None
        or endpoint.tokens_per_minute is not None
        or endpoint.concurrency is not None
    )


class Pacer:
    """Takes and gives back, for one process. ``hot`` is set by who builds the process."""

    def __init__(self, hot: Hot, window_s: float = WINDOW_S) -> None:
        self._hot = hot
        self._window_us = round(window_s * 1_000_000)

    async def take(
        self, endpoint: Endpoint, request_id: RequestId, *, requests: int, tokens: int, slots: int, limit_s: float
    ) -> Lease:
        """Room for an attempt of so many requests and at most so many tokens, ``slots`` at once or as many as are free.

        What is larger than a whole minute's grant takes all of it. Raises PassedOver with the wait.
        """
        rpm, tpm, concurrency = endpoint.requests_per_minute, endpoint.tokens_per_minute, endpoint.concurrency
        tokens = tokens if tpm is None else min(tokens, tpm)
        arguments: list[str | int] = [
            requests if rpm is None else min(requests, rpm),
            tokens,
            slots,
            *("" if granted is None else granted for granted in (rpm, tpm, concurrency)),
            request_id.hex,
            round((limit_s + LEASE_GRACE_S) * 1_000_000),
            self._window_us,
        ]
        try:
            reply = await self._hot.call(TAKE, _keys(endpoint.id), arguments)
        except (HotUnavailable, ReplyError) as fault:
            raise PassedOver("our count of its grant is away", detail=repr(fault), retry_after_s=1.0) from fault
        except asyncio.CancelledError:
            # It may have been granted: what follows on the same connection takes it back.
            self._give(Lease(endpoint.id, request_id.hex, slots, 0, 0), 0)
            raise
        if reply[0] == b"ok":
            return Lease(endpoint.id, request_id.hex, int(reply[1]), int(reply[2]), tokens)
        wait_s = int(reply[1]) / 1_000_000
        if reply[0] == b"slots":
            raise PassedOver("it has as many calls at once as it grants us", retry_after_s=min(wait_s, SLOT_WAIT_S))
        raise PassedOver("it has as much per minute as it grants us", retry_after_s=wait_s)

    def give(self, lease: Lease, used_tokens: int | None) -> None:
        """The attempt is over; ``used_tokens`` where the provider told. Never waits: a lease ends by itself too."""
        self._give(lease, 0 if used_tokens is None else max(0, lease.tokens - used_tokens))

    def _give(self, lease: Lease, tokens: int) -> None:
        try:
            given = self._hot.call(GIVE, _keys(lease.endpoint), [lease.id, lease.slots, lease.slice, tokens])
        except HotUnavailable:
            return
        given.add_done_callback(_forget)


def _keys(endpoint: EndpointId) -> list[str]:
    """Both keys of an endpoint on one Redis node, by the hash tag."""
    return [f"gr:pace:{{{endpoint.hex}}}", f"gr:pace:{{{endpoint.hex}}}:leases"]


def _forget(given: "asyncio.Future[object]") -> None:
    """Look at a lost answer, or asyncio complains of it: the lease ends by itself."""
    if not given.cancelled():
        given.exception()
