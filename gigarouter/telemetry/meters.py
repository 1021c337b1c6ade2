"""Metrics for Prometheus: plain numbers, added to by every request and made into metrics only when they are scraped.

Labels have few values: operations, statuses, codes, models, endpoints; never accounts or keys.
"""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

import structlog
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from gigarouter.telemetry.book_checks import BookChecks
from gigarouter.telemetry.logs import RequestLog
from router.api.exchange import Exchange
from router.context import RouterContext
from store.ids import EndpointId, wire

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LAG_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
LAG_EVERY_S = 0.25
# A lag this long is logged.
LAG_ALARM_S = 0.1

log = structlog.get_logger("metrics")


class Buckets:
    """A histogram: counts per bucket, and the sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Add one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """The counts as Prometheus wants them: each bucket has the smaller ones' counts, too."""
        sums: list[tuple[str, float]] = []
        cumulated = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            cumulated += count
            sums.append((bound, cumulated))
        return sums


class Meters(Collector):
    """The metrics of one process. :meth:`record` is called for every request, :meth:`expose` for every scrape."""

    def __init__(self, context: RouterContext, log: RequestLog) -> None:
        self._log = log
        self._context = context
        self._requests: defaultdict[tuple[str, int, str], int] = defaultdict(int)
        self._seconds: defaultdict[str, Buckets] = defaultdict(lambda: Buckets(SECONDS))
        self._upstream: defaultdict[EndpointId, Buckets] = defaultdict(lambda: Buckets(SECONDS))
        self._served: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        self._lag = Buckets(LAG_SECONDS)
        self.books = BookChecks(context.db)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def record(self, exchange: Exchange) -> None:
        """Log and count the outcome of a request."""
        self._log.record(exchange)
        refusal, summary = exchange.refusal, exchange.summary
        self._requests[exchange.operation, exchange.status, refusal.code if refusal else ""] += 1
        self._seconds[exchange.operation].add(exchange.elapsed_ms / 1000)
        if summary is not None:
            sums = self._served[summary.model_id]
            sums[0] += summary.inputs
            sums[1] += summary.tokens
            sums[2] += summary.charged
            sums[3] += summary.attempts
            self._upstream[summary.endpoint_id].add(summary.upstream_ms / 1000)

    def expose(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    async def watch_loop(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            lag = max(0.0, loop.time() - due)
            self._lag.add(lag)
            if lag > LAG_ALARM_S:
                log.warning("event loop held", seconds=round(lag, 3))

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are checked when they are scraped."""
        return ()

    @override
    def collect(self) -> Iterable[Metric]:
        """The numbers as Prometheus metrics."""
        yield from self._request_metrics()
        yield from self._call_metrics()
        lag = HistogramMetricFamily("gigarouter_event_loop_lag_seconds", "How late the event loop ran a timer")
        lag.add_metric([], self._lag.cumulative(), self._lag.total)
        yield lag
        yield from self._process_metrics()
        yield from self.books.metrics()

    def _process_metrics(self) -> Iterable[Metric]:
        charging, generation = self._context.charging, self._context.generation
        yield GaugeMetricFamily("gigarouter_ready", "1 when calls can be admitted", value=float(generation.is_ready))
        yield GaugeMetricFamily(
            "gigarouter_clock_offset_seconds",
            "How far this machine's wall clock is ahead of Postgres'; money goes by Postgres'",
            value=self._context.db.clock.offset_s,
        )
        yield GaugeMetricFamily("gigarouter_charges_waiting", "Calls that wait for their commit", value=charging.queued)
        yield CounterMetricFamily("gigarouter_commits", "Commits that charged calls", value=charging.batches)
        yield CounterMetricFamily("gigarouter_charges", "Calls charged", value=charging.charged)
        yield CounterMetricFamily(
            "gigarouter_charges_given_up", "Charges that Postgres refused by themselves", value=charging.given_up
        )
        yield CounterMetricFamily(
            "gigarouter_charges_fenced",
            "Calls not delivered since the process was silent for so long that others gave up its holds",
            value=charging.fenced,
        )
        yield CounterMetricFamily(
            "gigarouter_redis_script_faults",
            "Times a Redis script failed by itself: a bug, or a foreign hand in Redis",
            value=self._context.projection.script_faults,
        )
        receipts = self._context.receipts
        yield CounterMetricFamily("gigarouter_explanations", "Explanations of calls kept", value=receipts.stored)
        yield CounterMetricFamily(
            "gigarouter_explanations_dropped",
            "Explanations of calls that were not kept: Postgres was away for long, or refused them",
            value=receipts.lost + receipts.skipped,
        )
        counts = self._context.dispatch_state.counts
        yield CounterMetricFamily("gigarouter_hedges", "Second attempts beside a slow one", value=counts.hedges)
        yield CounterMetricFamily(
            "gigarouter_hedge_cost_nano_usd", "What lost hedges cost us, in nano-USD", value=counts.hedge_cost_nano
        )
        for name, description, counts_by_provider in (
            ("credential_refused", "Times a provider began to refuse our key", counts.credentials_refused),
            ("usage_untold", "Answers without usage, billed by our count or guess", counts.usage_missing),
            ("usage_miscounted", "Answers whose usage was missing or not our own count", counts.usage_differing),
        ):
            counter = CounterMetricFamily(f"gigarouter_provider_{name}", description, labels=["provider"])
            for provider, count in counts_by_provider.items():
                counter.add_metric([provider], count)
            yield counter

    def _request_metrics(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "gigarouter_requests", "HTTP requests by outcome", labels=["operation", "status", "code"]
        )
        for (operation, status, code), count in self._requests.items():
            requests.add_metric([operation, str(status), code], count)
        yield requests
        seconds = HistogramMetricFamily(
            "gigarouter_request_seconds", "From a request's head to the end of its answer", labels=["operation"]
        )
        for operation, buckets in self._seconds.items():
            seconds.add_metric([operation], buckets.cumulative(), buckets.total)
        yield seconds

    def _call_metrics(self) -> Iterable[Metric]:
        names = {
            "inputs": "Inputs embedded",
            "tokens": "Tokens billed",
            "charged_nano_usd": "Amount charged, in nano-USD",
            "attempts": "Attempts that answered calls took",
        }
        for position, (name, sentence) in enumerate(names.items()):
            family = CounterMetricFamily(f"gigarouter_{name}", sentence, labels=["model"])
            for model, sums in self._served.items():
                family.add_metric([model], sums[position])
            yield family
        upstream = HistogramMetricFamily(
            "gigarouter_upstream_seconds", "Time that an endpoint took to answer", labels=["endpoint"]
        )
        for endpoint, buckets in self._upstream.items():
            upstream.add_metric([wire(EndpointId, endpoint)], buckets.cumulative(), buckets.total)
        yield upstream
