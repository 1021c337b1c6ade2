"""Makes a row of the catalogue of each model: facts, price, who serves it, how fast and how available it is.

Nothing is typed in: providers are counted from endpoints, prices are those in force, figures those of the statistics.
What is not known is None, and is never shown as zero.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from catalog.values import Model, Status
from catalog.verdict import chip_of
from router.catalogue.values import UNKNOWN_FIGURES, CatalogueRow, Figures, Standing
from router.registry.indexes import EndpointIndex, PriceIndex
from router.statistics.counts import Counts, percentile
from router.statistics.snapshot import StatisticsSnapshot
from router.values import Endpoint, EndpointState

# Below this share of attempts that ended well within a day an endpoint is called degraded.
DEGRADED_BELOW: Final = 0.99


def rows_of(
    models: Iterable[Model],
    prices: PriceIndex,
    endpoints: EndpointIndex,
    statistics: StatisticsSnapshot | None,
    now: datetime,
) -> tuple[CatalogueRow, ...]:
    """A row for each model, in their order; ``statistics``: None where they cannot be read."""
    return tuple(row_of(model, prices, endpoints, statistics, now) for model in models)


def row_of(
    model: Model, prices: PriceIndex, endpoints: EndpointIndex, statistics: StatisticsSnapshot | None, now: datetime
) -> CatalogueRow:
    """The row of one model."""
    serving = endpoints.of_model(model)
    price = prices.current(model.id, now)
    live = [endpoint for endpoint in serving if endpoint.state is EndpointState.LIVE]
    return CatalogueRow(
        id=model.id,
        name=model.id.partition("/")[2],
        owner=model.owned_by,
        aliases=model.aliases,
        summary=model.summary,
        status=_standing(model, serving, statistics),
        price_nano=None if price is None else price.nano_per_mtok,
        batch_nano=None if price is None else price.batch_nano_per_mtok,
        estimate=model.estimate if price is None else None,
        dimensions=model.dimensions,
        widths=tuple(sorted(width for width in model.trained_dimensions if width < model.dimensions)),
        input_tokens=model.max_input_tokens,
        lang=model.language_codes,
        languages=model.languages,
        parameters=model.parameters,
        benchmark=model.benchmarks[0] if model.benchmarks else None,
        figures=figures_of(serving, statistics),
        providers=tuple(sorted({endpoint.provider_name for endpoint in live})),
        regions=tuple(sorted({region for endpoint in live for region in endpoint.regions})),
        chip=chip_of(model, now),
        votes=model.votes,
        published_on=model.published_on,
        space=model.space,
    )


def figures_of(endpoints: Iterable[Endpoint], statistics: StatisticsSnapshot | None) -> Figures:
    """The figures of endpoints together: their attempts are counted as one's."""
    known = [] if statistics is None else [statistics.of(endpoint.id) for endpoint in endpoints]
    if not known:
        return UNKNOWN_FIGURES
    day, week, month = Counts(), Counts(), Counts()
    for one in known:
        day.add(one.total("24h"))
        week.add(one.total("7d"))
        month.add(one.total("30d"))
    return Figures(
        percentile(day.latency, 0.5),
        percentile(day.latency, 0.95),
        day.availability,
        week.availability,
        month.availability,
    )


def endpoint_standing(endpoint: Endpoint, statistics: StatisticsSnapshot | None) -> Standing:
    """How one endpoint stands: degraded where it is out of service, or fails more often than it should."""
    if endpoint.state is not EndpointState.LIVE:
        return Standing.DEGRADED
    availability = None if statistics is None else statistics.of(endpoint.id).availability("24h")
    return Standing.DEGRADED if availability is not None and availability < DEGRADED_BELOW else Standing.LIVE


_UNSERVED: Final = {
    Status.COMING_SOON: Standing.COMING_SOON,
    Status.DEPRECATED: Standing.DEPRECATED,
    Status.RETIRED: Standing.RETIRED,
}


def _standing(model: Model, serving: Iterable[Endpoint], statistics: StatisticsSnapshot | None) -> Standing:
    if model.status in _UNSERVED:
        return _UNSERVED[model.status]
    serving = tuple(serving)
    if not any(endpoint.state is EndpointState.LIVE for endpoint in serving):
        return Standing.COLD
    standings = {endpoint_standing(endpoint, statistics) for endpoint in serving}
    return Standing.DEGRADED if Standing.DEGRADED in standings else Standing.LIVE
