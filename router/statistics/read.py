"""Reads the statistics of endpoints and models: how fast and how available they are, and as of when that is known.

:func:`read_endpoint_statistics` is for whoever shows endpoints (``/v1/models/{id}/endpoints``, the catalogue's pages):
a few rows for each endpoint, however many calls there were.
"""

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import Final, Literal

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.statistics.counts import Counts, Size, percentile
from store.ids import EndpointId

Span = Literal["24h", "7d", "30d"]
# Jobs sum every minute and processes write every five seconds: what is older than this is late.
LATE_AFTER: Final = timedelta(minutes=3)

_FIGURES = text("""
    SELECT endpoint_id, span, size, answered, ours, providers, customers, latency FROM endpoint_figures
    WHERE span = ANY(CAST(:spans AS text[]))
        AND (CAST(:every AS boolean) OR endpoint_id = ANY(CAST(:endpoints AS uuid[])))
""")
_STATE = text("SELECT name, at FROM statistics_state")
_MODEL_DAYS = text("""
    SELECT model_id, day, answered, ours, providers, customers FROM model_days WHERE day >= CAST(:since AS date)
    ORDER BY model_id, day
""")
_MODEL_RECENT = text("""
    SELECT model_id, sum(answered)::bigint AS answered, sum(ours)::bigint AS ours, sum(providers)::bigint AS providers,
        sum(customers)::bigint AS customers
    FROM model_statistics WHERE at >= :since GROUP BY 1
""")


class EndpointStatistics(msgspec.Struct, frozen=True):
    """The counts of one endpoint by span and size of call, as far as there were any."""

    counts: dict[tuple[Span, Size], Counts]

    def total(self, span: Span) -> Counts:
        """The counts of calls of all sizes."""
        total = Counts()
        for (of_span, _), counts in self.counts.items():
            if of_span == span:
                total.add(counts)
        return total

    def availability(self, span: Span) -> float | None:
        """The share of attempts that ended well, customers' faults left out; None: too few calls to say."""
        return self.total(span).availability

    def latency_ms(self, span: Span, share: float, size: Size | None = None) -> float | None:
        """A percentile of calls of one size, or of all; None: too few calls to say."""
        counts = self.total(span) if size is None else self.counts.get((span, size), Counts())
        return percentile(counts.latency, share)


NO_STATISTICS: Final = EndpointStatistics({})


class StatisticsState(msgspec.Struct, frozen=True):
    """When a process wrote statistics last, and when jobs summed them; None: never."""

    written_at: datetime | None
    summed_at: datetime | None

    @property
    def as_of(self) -> datetime | None:
        """Until when what is shown is known; None: nothing is."""
        known = [at for at in (self.written_at, self.summed_at) if at is not None]
        return min(known) if len(known) == 2 else None

    def is_late(self, now: datetime) -> bool:
        """Whether the statistics are behind, so that they say nothing of now."""
        return self.as_of is None or now - self.as_of > LATE_AFTER


async def read_endpoint_statistics(
    tx: AsyncConnection, endpoints: Collection[EndpointId] | None = None, spans: Collection[Span] = ("24h", "7d", "30d")
) -> dict[EndpointId, EndpointStatistics]:
    """Read the statistics of some endpoints, or of all; an endpoint without calls has :data:`NO_STATISTICS`."""
    given = {"spans": list(spans), "every": endpoints is None, "endpoints": list(endpoints or ())}
    found: dict[EndpointId, dict[tuple[Span, Size], Counts]] = {}
    for row in await tx.execute(_FIGURES, given):
        counts = Counts(row.answered, row.ours, row.providers, row.customers, list(row.latency))
        found.setdefault(EndpointId(row.endpoint_id), {})[row.span, Size(row.size)] = counts
    read = {endpoint: EndpointStatistics(counts) for endpoint, counts in found.items()}
    return dict.fromkeys(endpoints or (), NO_STATISTICS) | read


async def read_state(tx: AsyncConnection) -> StatisticsState:
    """Read as of when statistics are known."""
    at = {row.name: row.at for row in await tx.execute(_STATE)}
    return StatisticsState(at.get("written"), at.get("summed"))


async def read_model_days(tx: AsyncConnection, since: date) -> dict[str, dict[date, Counts]]:
    """Read how the calls of each model ended, by day of UTC; of no model where the call had none yet, under ``""``."""
    found: dict[str, dict[date, Counts]] = {}
    for row in await tx.execute(_MODEL_DAYS, {"since": since}):
        found.setdefault(row.model_id, {})[row.day] = Counts(row.answered, row.ours, row.providers, row.customers)
    return found


async def read_models_since(tx: AsyncConnection, since: datetime) -> dict[str, Counts]:
    """Read how the calls of each model ended since an instant of the last week."""
    rows = await tx.execute(_MODEL_RECENT, {"since": since})
    return {row.model_id: Counts(row.answered, row.ours, row.providers, row.customers) for row in rows}
