"""Makes the table of a model's endpoints: who serves it, where, how fast and how available, and what it keeps."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from router.catalogue.rows import endpoint_standing
from router.catalogue.values import Standing
from router.statistics.counts import Size
from router.statistics.read import NO_STATISTICS
from router.statistics.snapshot import StatisticsSnapshot
from router.values import Endpoint, EndpointState

_WORDS = {
    EndpointState.LIVE: "",
    EndpointState.DRAINING: "takes no new calls",
    EndpointState.QUARANTINED: "out of service until its vectors are verified",
}
_CHECKS = {
    "same_space": "same space",
    "another_space": "another space",
    "no_answer": "did not answer",
    "no_reference": "nothing to compare with",
}


class SizeLatency(msgspec.Struct, frozen=True):
    """How long calls of one size took, in milliseconds; None: too few calls."""

    size: str
    p50_ms: float | None
    p95_ms: float | None


class EndpointLine(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint, in a reader's words."""

    provider: str
    regions: str
    standing: Standing
    state: str
    latencies: tuple[SizeLatency, ...]
    availability_24h: float | None
    availability_30d: float | None
    retention: str
    data_use: str
    limits: str
    checked_at: datetime | None
    check: str


def endpoint_lines(endpoints: Iterable[Endpoint], statistics: StatisticsSnapshot | None) -> tuple[EndpointLine, ...]:
    """The lines of the endpoints that are in service, or were until a moment ago."""
    return tuple(_line(one, statistics) for one in endpoints if one.state in _WORDS)


def _line(endpoint: Endpoint, statistics: StatisticsSnapshot | None) -> EndpointLine:
    known = NO_STATISTICS if statistics is None else statistics.of(endpoint.id)
    check = None if statistics is None else statistics.checks.get(endpoint.id)
    return EndpointLine(
        provider=endpoint.provider_name,
        regions=", ".join(endpoint.regions),
        standing=endpoint_standing(endpoint, statistics),
        state=_WORDS[endpoint.state],
        latencies=tuple(
            SizeLatency(size.value, known.latency_ms("24h", 0.5, size), known.latency_ms("24h", 0.95, size))
            for size in Size
        ),
        availability_24h=known.availability("24h"),
        availability_30d=known.availability("30d"),
        retention=_retention(endpoint.retention_days),
        data_use="may use inputs" if endpoint.collects_data else "does not use inputs",
        limits=_limits(endpoint),
        checked_at=None if check is None else check.at,
        check="" if check is None else _CHECKS.get(check.verdict, check.verdict),
    )


def _retention(days: int | None) -> str:
    if days is None:
        return "not stated"
    if not days:
        return "nothing is kept"
    return "1 day" if days == 1 else f"{days:,} days"


def _limits(endpoint: Endpoint) -> str:
    limits = []
    if endpoint.max_batch is not None:
        limits.append(f"{endpoint.max_batch:,} inputs")
    if endpoint.max_batch_tokens is not None:
        limits.append(f"{endpoint.max_batch_tokens:,} tokens")
    return ", ".join(limits)
