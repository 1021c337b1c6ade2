"""Declares the figures of an endpoint's health: those that routing decides by, and those that operators see. Pure."""

from typing import Final

import msgspec


class EndpointStats(msgspec.Struct, frozen=True):
    """The figures that routing decides by; ``latency_s`` and ``tokens_per_s`` are None for sizes without an answer.

    ``decayed_latency_s`` is the latency, decayed by the time without an answer. ``success_rate`` is in 0..1; ``wait_s``
    is the wait of a new call as a worker reports it. ``recovered_share`` in 0.1..1 is the part of its usual traffic
    that it may have again after failures; ``share`` is that, or less where its last answers were slow and few calls
    should try it.
    """

    latency_s: float | None = None
    decayed_latency_s: float = 0.0
    in_flight: int = 0
    success_rate: float = 1.0
    wait_s: float = 0.0
    tokens_per_s: float | None = None
    share: float = 1.0
    recovered_share: float = 1.0


NO_STATS: Final = EndpointStats()


class HealthSnapshot(msgspec.Struct, frozen=True):
    """One endpoint's health, for operators. ``latency_ms`` and ``p95_ms`` are by size class (``routing.latency``)."""

    left_out: str | None
    code: str | None
    retry_after_s: float
    in_flight: int
    success_rate: float
    wait_s: float
    queue_tokens: int
    share: float
    latency_ms: dict[int, float]
    p95_ms: dict[int, float]
    tokens_per_s: dict[int, float]
