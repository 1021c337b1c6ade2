"""Holds the rows of the catalogue in a process's memory for a second, so that many readers cost what one does.

The rows say as of when they are: the facts at most a second ago, the figures as the statistics say.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from catalog.models import Catalog
from catalog.values import Model
from router.catalogue.rows import rows_of
from router.catalogue.values import CatalogueRow
from router.registry.indexes import EndpointIndex, PriceIndex
from router.statistics.snapshot import StatisticsSnapshot

FRESH_FOR: Final = timedelta(seconds=1)


class Listing(msgspec.Struct, frozen=True):
    """The rows of all models, and as of when. ``figures_as_of``: None where no figures are known.

    ``are_figures_late``: they are minutes behind and say nothing of now.
    """

    rows: tuple[CatalogueRow, ...]
    made_at: datetime
    figures_as_of: datetime | None
    are_figures_late: bool


class RowsMemory:
    """The listing that a process has."""

    def __init__(self) -> None:
        self._listing: Listing | None = None
        self._of: tuple[tuple[Model, ...], StatisticsSnapshot | None] = ((), None)

    def listing(
        self,
        catalog: Catalog,
        prices: PriceIndex,
        endpoints: EndpointIndex,
        statistics: StatisticsSnapshot | None,
        now: datetime,
    ) -> Listing:
        """The rows as of at most a second ago. ``statistics``: None where they cannot be read."""
        models, known = self._of
        is_fresh = models is catalog.all() and known is statistics
        if self._listing is None or not is_fresh or now - self._listing.made_at > FRESH_FOR:
            self._of = catalog.all(), statistics
            self._listing = Listing(
                rows_of(catalog.all(), prices, endpoints, statistics, now),
                now,
                None if statistics is None else statistics.state.as_of,
                statistics is None or statistics.state.is_late(now),
            )
        return self._listing
