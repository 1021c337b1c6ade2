"""Makes metrics of what jobs writes into Postgres: checks of the books, how providers count, what waits for Stripe."""

import asyncio
from collections.abc import Iterable

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from billing.books import Result, read_results
from billing.reconciliation.undelivered import Drift, read_drift
from billing.stripe.mirrors import Backlog, read_backlog
from store.postgres import STORE_FAULTS, Database

READ_EVERY_S = 15.0

log = structlog.get_logger("metrics")


class BookChecks:
    """The last results, read again and again by :meth:`run`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._results: list[Result] = []
        self._drift: list[Drift] = []
        self._backlog = Backlog()

    async def run(self) -> None:
        """Read the results until cancelled."""
        while True:
            try:
                await self.read()
            except STORE_FAULTS as fault:
                log.warning("book_checks_unread", fault=type(fault).__name__)
            await asyncio.sleep(READ_EVERY_S)

    async def read(self) -> None:
        """Read the results once."""
        async with self._db.transaction() as tx:
            self._results, self._drift = await read_results(tx), await read_drift(tx)
            self._backlog = await read_backlog(tx)

    def metrics(self) -> Iterable[Metric]:
        """How much is wrong by each check, and when it was looked at; nothing of a check that never ran."""
        wrong = GaugeMetricFamily(
            "gigarouter_books_wrong", "How much is wrong by a check of the books; 0 is right", labels=["check"]
        )
        checked = GaugeMetricFamily(
            "gigarouter_books_checked_timestamp_seconds", "When a check of the books last ran", labels=["check"]
        )
        for result in self._results:
            if result.wrong is not None and result.checked_at is not None:
                wrong.add_metric([result.check], result.wrong)
                checked.add_metric([result.check], result.checked_at.timestamp())
        drift = GaugeMetricFamily(
            "gigarouter_provider_token_drift",
            "By which share a provider told more tokens on the last whole day than we billed",
            labels=["provider"],
        )
        for one in self._drift:
            drift.add_metric([one.provider], one.share)
        yield wrong
        yield checked
        yield drift
        yield GaugeMetricFamily(
            "gigarouter_meter_mirror_waiting_days",
            "Totals of days of mirrored usage that Stripe's meters do not have yet",
            value=self._backlog.waiting,
        )
        yield GaugeMetricFamily(
            "gigarouter_meter_mirror_refused_days",
            "Those of them that Stripe refused the last time",
            value=self._backlog.refused,
        )
